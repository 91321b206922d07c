// Losses as functions of one prediction z and one target y: value and the first three derivatives
// in z, and the list of them. g++ and CUDA (NVRTC) compile the same text. No data access, no
// weights: rows multiply by their own weight. To add a loss: one struct, one line in FH_LOSSES, one
// row of known values in tests/test_losses.py.
#pragma once
#ifdef __CUDACC__
#define FH_FN __device__ __forceinline__
#else
#include <cmath>
#include <cstdint>
#include <cstring>
#define FH_FN inline __attribute__((always_inline))
#endif

namespace fh {

#ifndef __CUDACC__
using std::log;
#endif

#ifdef __CUDACC__
FH_FN double exp_neg(double x) { return exp(x < -708.0 ? -708.0 : x); }  // as below
FH_FN double log1p_unit(double e) { return log1p(e); }
#else
// exp(x) for x <= 0 to about 1 ulp, without a branch or a call so that loops over rows vectorise.
// Cody-Waite reduction x = k ln 2 + r, |r| <= ln 2 / 2, then the Taylor series of exp(r) to r^13
// (remainder < 5e-18).
FH_FN double exp_neg(double x) {
    x = x < -708.0 ? -708.0
                   : x;  // exp(-708) = 3e-308, the smallest normal number: below it nothing is lost
    const double shift = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer
    double k = x * 1.4426950408889634074 + shift;
    int64_t bits;
    std::memcpy(&bits, &k, 8);
    k -= shift;
    double r = x - k * 0.693147180369123816490;
    r -= k * 1.90821492927058770002e-10;
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    int64_t scale = static_cast<int64_t>(static_cast<uint64_t>(bits) << 52) +
                    (static_cast<int64_t>(1023) << 52);
    double two_k;
    std::memcpy(&two_k, &scale, 8);
    return p * two_k;
}
// log(1 + e) for 0 <= e <= 1 to about 1 ulp: 2 atanh(s) with |s| <= 0.172, after halving 1 + e when
// it exceeds sqrt(2).
FH_FN double log1p_unit(double e) {
    bool is_upper = e > 0.41421356237309503;
    double s = is_upper ? (e - 1.0) / (e + 3.0) : e / (e + 2.0);
    double t = s * s;
    double p = 1.0 / 23.0;
    p = p * t + 1.0 / 21.0;
    p = p * t + 1.0 / 19.0;
    p = p * t + 1.0 / 17.0;
    p = p * t + 1.0 / 15.0;
    p = p * t + 1.0 / 13.0;
    p = p * t + 1.0 / 11.0;
    p = p * t + 1.0 / 9.0;
    p = p * t + 1.0 / 7.0;
    p = p * t + 1.0 / 5.0;
    p = p * t + 1.0 / 3.0;
    double tail = 2.0 * s + 2.0 * s * t * p;
    return is_upper ? 0.69314718055994530942 + tail : tail;
}
#endif

// exp(x) for every x; saturates at 3e307
FH_FN double exp_any(double x) {
    const double e = exp_neg(x < 0.0 ? x : -x);
    return x < 0.0 ? e : 1.0 / e;
}
FH_FN double fabs_(double a) { return a < 0.0 ? -a : a; }

// A loss has up to two parameters a[0], a[1] (their names and defaults are in fasthoag/losses.py).
// Most structs give value and derivatives apart; where both need the same exponential, value_d1
// computes them together. Losses with a kink in d1 have d3 = 0 and either one-sided d2 there.

struct Squared {  // (z - y)^2 / 2, y real
    static FH_FN double value(double y, double z, const double*) { return 0.5 * (z - y) * (z - y); }
    static FH_FN double d1(double y, double z, const double*) { return z - y; }
    static FH_FN double d2(double, double z, const double*) {
        return z - z + 1.0;
    }  // NaN in, NaN out
    static FH_FN double d3(double, double z, const double*) { return z - z; }
    static FH_FN void value_d1(double y, double z, const double*, double& v, double& g) {
        g = z - y;
        v = 0.5 * g * g;
    }
};

struct Softplus {  // log(1 + exp(-y z)), y in {-1, +1}; no loss of its own, takes no parameter
    static FH_FN double value(double y, double z, const double* a) {
        double v, g;
        value_d1(y, z, a, v, g);
        return v;
    }
    static FH_FN double d1(double y, double z, const double* a) {
        double v, g;
        value_d1(y, z, a, v, g);
        return g;
    }
    static FH_FN double d2(double y, double z, const double*) {
        double e = exp_neg(-fabs_(y * z));  // e <= 1: never overflows
        return e / ((1.0 + e) * (1.0 + e));
    }
    static FH_FN double d3(double y, double z, const double*) {
        double u = fabs_(y * z), e = exp_neg(-u), c = e / ((1.0 + e) * (1.0 + e));
        double tanh_half = (1.0 - e) / (1.0 + e);
        return z > 0.0 ? -c * tanh_half : c * tanh_half;
    }
    static FH_FN void value_d1(double y, double z, const double*, double& v, double& g) {
        double t = y * z, e = exp_neg(-fabs_(t)), inverse = 1.0 / (1.0 + e);
        v = log1p_unit(e) + (t < 0.0 ? -t : 0.0);
        g = -y * (t < 0.0 ? inverse : e * inverse);
    }
};

// log(1 + exp(-y z)) + (smoothing / 2) y z, y in {-1, +1}: the cross-entropy against the targets 1
// - smoothing / 2 of the label and smoothing / 2 of the other one. Adding 0 times a number changes
// no bit: without smoothing it is Softplus.
struct Logistic {
    static FH_FN double value(double y, double z, const double* a) {
        double v, g;
        value_d1(y, z, a, v, g);
        return v;
    }
    static FH_FN double d1(double y, double z, const double* a) {
        double v, g;
        value_d1(y, z, a, v, g);
        return g;
    }
    static FH_FN double d2(double y, double z, const double* a) { return Softplus::d2(y, z, a); }
    static FH_FN double d3(double y, double z, const double* a) { return Softplus::d3(y, z, a); }
    static FH_FN void value_d1(double y, double z, const double* a, double& v, double& g) {
        Softplus::value_d1(y, z, a, v, g);
        v += 0.5 * a[0] * (y * z);
        g += 0.5 * a[0] * y;
    }
};

template <class L>
struct Apart {  // value and d1 have nothing to share
    static FH_FN void value_d1(double y, double z, const double* a, double& v, double& g) {
        v = L::value(y, z, a);
        g = L::d1(y, z, a);
    }
};

struct SquaredHinge : Apart<SquaredHinge> {  // max(0, 1 - y z)^2, y in {-1, +1}
    static FH_FN double room(double y, double z) {
        double r = 1.0 - y * z;
        return r < 0.0 ? 0.0 : r;
    }
    static FH_FN double value(double y, double z, const double*) { return room(y, z) * room(y, z); }
    static FH_FN double d1(double y, double z, const double*) { return -2.0 * y * room(y, z); }
    static FH_FN double d2(double y, double z, const double*) { return y * z < 1.0 ? 2.0 : z - z; }
    static FH_FN double d3(double, double z, const double*) { return z - z; }
};

struct SmoothedHinge {  // with t = 1 - y z: h log(1 + exp(t / h)), the hinge max(0, t) but for a
                        // corner of width h, y in {-1, +1}
    static FH_FN double value(double y, double z, const double* a) {
        double v, g;
        value_d1(y, z, a, v, g);
        return v;
    }
    static FH_FN double d1(double y, double z, const double* a) {
        double v, g;
        value_d1(y, z, a, v, g);
        return g;
    }
    static FH_FN double d2(double y, double z, const double* a) {
        return Softplus::d2(1.0, (y * z - 1.0) / a[0], a) / a[0];
    }
    static FH_FN double d3(double y, double z, const double* a) {
        return y * Softplus::d3(1.0, (y * z - 1.0) / a[0], a) / (a[0] * a[0]);
    }
    static FH_FN void value_d1(double y, double z, const double* a, double& v, double& g) {
        Softplus::value_d1(1.0, (y * z - 1.0) / a[0], a, v, g);
        v *= a[0];
        g *= y;
    }
};

struct Huber
    : Apart<Huber> {  // r = z - y: r^2 / 2 up to |r| = delta, delta |r| - delta^2 / 2 beyond
    static FH_FN double value(double y, double z, const double* a) {
        double r = fabs_(z - y);
        return r <= a[0] ? 0.5 * r * r : a[0] * r - 0.5 * a[0] * a[0];
    }
    static FH_FN double d1(double y, double z, const double* a) {
        double r = z - y;
        return r < -a[0] ? -a[0] : r > a[0] ? a[0] : r;
    }
    static FH_FN double d2(double y, double z, const double* a) {
        return fabs_(z - y) <= a[0] ? 1.0 : z - z;
    }
    static FH_FN double d3(double, double z, const double*) { return z - z; }
};

struct SquaredEpsilonInsensitive
    : Apart<SquaredEpsilonInsensitive> {  // max(0, |z - y| - epsilon)^2
    static FH_FN double value(double y, double z, const double* a) {
        double r = fabs_(z - y) - a[0];
        return r < 0.0 ? 0.0 : r * r;
    }
    static FH_FN double d1(double y, double z, const double* a) {
        double r = z - y, s = fabs_(r) - a[0];
        return s < 0.0 ? z - z : r < 0.0 ? -2.0 * s : 2.0 * s;
    }
    static FH_FN double d2(double y, double z, const double* a) {
        return fabs_(z - y) > a[0] ? 2.0 : z - z;
    }
    static FH_FN double d3(double, double z, const double*) { return z - z; }
};

struct Quantile {  // r = y - z: quantile r + h log(1 + exp(-r / h)), which is the pinball loss but
                   // for a corner of width h
    static FH_FN double value(double y, double z, const double* a) {
        double v, g;
        value_d1(y, z, a, v, g);
        return v;
    }
    static FH_FN double d1(double y, double z, const double* a) {
        double v, g;
        value_d1(y, z, a, v, g);
        return g;
    }
    static FH_FN double d2(double y, double z, const double* a) {
        return Softplus::d2(1.0, (z - y) / a[1], a) / a[1];
    }
    static FH_FN double d3(double y, double z, const double* a) {
        return Softplus::d3(1.0, (z - y) / a[1], a) / (a[1] * a[1]);
    }
    static FH_FN void value_d1(double y, double z, const double* a, double& v, double& g) {
        Softplus::value_d1(-1.0, (z - y) / a[1], a, v, g);
        v = a[0] * (y - z) + a[1] * v;
        g -= a[0];
    }
};

// Half the unit deviances of exponential families with a log link: 0 where exp(z) = y.
struct Poisson {  // exp(z) - y z + y log(y) - y, y >= 0
    static FH_FN double least(double y) { return y > 0.0 ? y * log(y) - y : 0.0; }
    static FH_FN double value(double y, double z, const double*) {
        return exp_any(z) - y * z + least(y);
    }
    static FH_FN double d1(double y, double z, const double*) { return exp_any(z) - y; }
    static FH_FN double d2(double, double z, const double*) { return exp_any(z); }
    static FH_FN double d3(double, double z, const double*) { return exp_any(z); }
    static FH_FN void value_d1(double y, double z, const double*, double& v, double& g) {
        double e = exp_any(z);
        v = e - y * z + least(y);
        g = e - y;
    }
};

struct Gamma {  // z + y exp(-z) - log(y) - 1, y > 0
    static FH_FN double value(double y, double z, const double*) {
        return z + y * exp_any(-z) - log(y) - 1.0;
    }
    static FH_FN double d1(double y, double z, const double*) { return 1.0 - y * exp_any(-z); }
    static FH_FN double d2(double y, double z, const double*) { return y * exp_any(-z); }
    static FH_FN double d3(double y, double z, const double*) { return -y * exp_any(-z); }
    static FH_FN void value_d1(double y, double z, const double*, double& v, double& g) {
        double e = y * exp_any(-z);
        v = z + e - log(y) - 1.0;
        g = 1.0 - e;
    }
};

struct Tweedie : Apart<Tweedie> {  // exp(b z) / b - y exp(c z) / c + y^b / (b c) with b = 2 - p, c
                                   // = 1 - p; y >= 0, power 1 < p < 2
    static FH_FN double value(double y, double z, const double* a) {
        double b = 2.0 - a[0], c = 1.0 - a[0];
        return exp_any(b * z) / b - y * exp_any(c * z) / c +
               (y > 0.0 ? exp_any(b * log(y)) / (b * c) : 0.0);
    }
    static FH_FN double d1(double y, double z, const double* a) {
        return exp_any((2.0 - a[0]) * z) - y * exp_any((1.0 - a[0]) * z);
    }
    static FH_FN double d2(double y, double z, const double* a) {
        return (2.0 - a[0]) * exp_any((2.0 - a[0]) * z) -
               (1.0 - a[0]) * y * exp_any((1.0 - a[0]) * z);
    }
    static FH_FN double d3(double y, double z, const double* a) {
        return (2.0 - a[0]) * (2.0 - a[0]) * exp_any((2.0 - a[0]) * z) -
               (1.0 - a[0]) * (1.0 - a[0]) * y * exp_any((1.0 - a[0]) * z);
    }
};

// The multinomial loss log(sum_c exp(z_c)) - (1 - smoothing) z_y - (smoothing / K) sum_c z_c of K
// classes, y in 0..K-1: one row, K predictions. p receives the probabilities; its gradient is p -
// target. a[0] is the smoothing.
struct Softmax {
    struct Target {
        double others, label;
        FH_FN Target(int K, const double* a) : others(a[0] / K), label(1.0 - a[0] + others) {}
        FH_FN double at(int c, double y) const { return c == int(y) ? label : others; }
        FH_FN void subtract_from(int K, double y, double* p) const {
            p[int(y)] -= label - others;
            if (others == 0.0) return;
            for (int c = 0; c < K; ++c) p[c] -= others;
        }
    };
    struct Scale {
        double top, sum;
    };  // sum_c exp(z_c) = sum exp(top)
    static FH_FN Scale probabilities(int K, const double* z, double* p) {
        double top = z[0], sum = 0.0;
        for (int c = 1; c < K; ++c) top = z[c] > top ? z[c] : top;
        for (int c = 0; c < K; ++c) sum += p[c] = exp_neg(z[c] - top);
        for (int c = 0; c < K; ++c) p[c] /= sum;
        return {top, sum};
    }
    static FH_FN double value(int K, double y, const double* z, const double* a, double* p) {
        const Scale scale = probabilities(K, z, p);
        const double value = log(scale.sum) + scale.top - z[int(y)];
        if (a[0] == 0.0) return value;
        double above = 0.0;  // of the label's prediction over the mean of all
        for (int c = 0; c < K; ++c) above += (z[int(y)] - z[c]) / K;
        return value + a[0] * above;
    }
    // out = s (diag(p) - p p') u, from a = s p
    template <class U>
    static FH_FN void curve(int K, const double* a, const U* u, U* out) {
        double s = 0.0, dot = 0.0;
        for (int c = 0; c < K; ++c) {
            s += a[c];
            dot += a[c] * u[c];
        }
        for (int c = 0; c < K; ++c) out[c] = s != 0.0 ? U(a[c] * (u[c] - dot / s)) : U(0);
    }
};

// name as users write it, struct
#define FH_LOSSES(X)                                          \
    X(squared, Squared)                                       \
    X(logistic, Logistic)                                     \
    X(squared_hinge, SquaredHinge)                            \
    X(smoothed_hinge, SmoothedHinge)                          \
    X(huber, Huber)                                           \
    X(squared_epsilon_insensitive, SquaredEpsilonInsensitive) \
    X(quantile, Quantile)                                     \
    X(poisson, Poisson)                                       \
    X(gamma, Gamma)                                           \
    X(tweedie, Tweedie)

}  // namespace fh
