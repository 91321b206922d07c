// Losses as functions of one prediction z and one target y: value and the first three derivatives in z, and the list of them.
// g++ and CUDA (NVRTC) compile the same text. No data access, no weights: rows multiply by their own weight.
// To add a loss: one struct, one line in FH_LOSSES, one row of known values in tests/test_losses.py.
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

#ifdef __CUDACC__
FH_FN double exp_neg(double x) { return exp(x); }
FH_FN double log1p_unit(double e) { return log1p(e); }
#else
// exp(x) for x <= 0 to about 1 ulp, without a branch or a call so that loops over rows vectorise.
// Cody-Waite reduction x = k ln 2 + r, |r| <= ln 2 / 2, then the Taylor series of exp(r) to r^13 (remainder < 5e-18).
FH_FN double exp_neg(double x) {
    x = x < -708.0 ? -708.0 : x;                       // exp(-708) = 3e-308, the smallest normal number: below it nothing is lost
    const double shift = 6755399441055744.0;           // 1.5 * 2^52: adding it rounds to an integer
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
    int64_t scale = static_cast<int64_t>(static_cast<uint64_t>(bits) << 52) + (static_cast<int64_t>(1023) << 52);
    double two_k;
    std::memcpy(&two_k, &scale, 8);
    return p * two_k;
}
// log(1 + e) for 0 <= e <= 1 to about 1 ulp: 2 atanh(s) with |s| <= 0.172, after halving 1 + e when it exceeds sqrt(2).
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

struct Squared {  // (z - y)^2 / 2, y real
    static FH_FN double value(double y, double z) { return 0.5 * (z - y) * (z - y); }
    static FH_FN double d1(double y, double z) { return z - y; }
    static FH_FN double d2(double, double z) { return z - z + 1.0; }  // NaN in, NaN out
    static FH_FN double d3(double, double z) { return z - z; }
    static FH_FN void value_d1(double y, double z, double& v, double& g) { g = z - y; v = 0.5 * g * g; }
};

struct Logistic {  // log(1 + exp(-y z)), y in {-1, +1}
    static FH_FN double value(double y, double z) { double v, g; value_d1(y, z, v, g); return v; }
    static FH_FN double d1(double y, double z) { double v, g; value_d1(y, z, v, g); return g; }
    static FH_FN double d2(double y, double z) {
        double e = exp_neg(-fabs_(y * z));  // e <= 1: never overflows
        return e / ((1.0 + e) * (1.0 + e));
    }
    static FH_FN double d3(double y, double z) {
        double a = fabs_(y * z), e = exp_neg(-a), c = e / ((1.0 + e) * (1.0 + e));
        double tanh_half = (1.0 - e) / (1.0 + e);
        return z > 0.0 ? -c * tanh_half : c * tanh_half;
    }
    static FH_FN void value_d1(double y, double z, double& v, double& g) {
        double t = y * z, e = exp_neg(-fabs_(t)), inverse = 1.0 / (1.0 + e);
        v = log1p_unit(e) + (t < 0.0 ? -t : 0.0);
        g = -y * (t < 0.0 ? inverse : e * inverse);
    }
    static FH_FN double fabs_(double a) { return a < 0.0 ? -a : a; }
};

// name as users write it, struct
#define FH_LOSSES(X) \
    X(squared, Squared) \
    X(logistic, Logistic)

}  // namespace fh
