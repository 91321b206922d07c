// What is done with the predictions Z (n, m) of rows: losses, their derivatives and sums, the
// contraction of the outer Hessian. Formulas are those of losses.hpp, the same text that g++
// compiles; FH_LOSS is the name of one of its losses, or `custom`, whose struct Loss_custom is put
// in below.
//
// These kernels are not fused into the gather: of a row with 50 entries the gather reads 600 bytes,
// and 16 m more for writing Z and reading it again are a few percent of a loss and gradient, while
// Hessian products, nine of ten passes, have their curvature in the gather's epilogue.
#include "losses.hpp"
#include "columns.cuh"

#define FH_NAMED(name, type) typedef fh::type Loss_##name;
FH_LOSSES(FH_NAMED)
// custom loss
#define FH_GLUE2(a, b) a##b
#define FH_GLUE(a, b) FH_GLUE2(a, b)
typedef FH_GLUE(Loss_, FH_LOSS) Loss;

namespace {

enum { train_bit = 1, held_out_bit = 2 };

// Row weights of column f: weight[i] where (mask[i, f] & bit), else 0. Without weights 1, without a
// mask every row trains.
struct RowWeights {
    const double* weight;
    const unsigned char* mask;
    int n_folds;
    __device__ double at(i64 i, int fold, int bit) const {
        return (mask ? mask[i * n_folds + fold] : 1) & bit ? (weight ? weight[i] : 1.0) : 0.0;
    }
};

}  // namespace

#define FH_ROWS \
    const double *y, const double *weight, const unsigned char *mask, int n_folds, const int *fold

// parts (B, 2, m): sums of s * loss over training and held-out rows of every block. With R: R (n,
// m) = s * (first derivative) in training rows. K > 1 is the multinomial loss: values are in the
// first column of a unit; R is needed.
extern "C" __global__ void losses(i64 n, int m, int K, FH_ROWS, double a0, double a1,
                                  const double* Z, double* R, int wants_grad, double* parts) {
    const RowWeights rows = {weight, mask, n_folds};
    const double a[2] = {a0, a1};
    column_sums<2>(n, m / K, parts, [&](i64 i, int u, double* s) {
        const i64 at = i * m + i64(u) * K;
        const double in = rows.at(i, fold[u * K], train_bit),
                     out = rows.at(i, fold[u * K], held_out_bit);
        double v = 0.0, g = 0.0;
        if (K > 1) {
            const fh::Softmax::Target target(K, a);
            if (in != 0.0 || out != 0.0) v = fh::Softmax::value(K, y[i], Z + at, a, R + at);
            for (int c = 0; wants_grad && c < K; ++c)
                R[at + c] = in != 0.0 ? in * (R[at + c] - target.at(c, y[i])) : 0.0;
        } else {
            if (in != 0.0 || out != 0.0) Loss::value_d1(y[i], Z[at], a, v, g);
            if (wants_grad) R[at] = in != 0.0 ? in * g : 0.0;
        }
        if (in != 0.0) s[0] += in * v;
        if (out != 0.0) s[1] += out * v;
    });
}

// out (n, m) = s * (derivative of this order) at Z, in rows that have `bit`; of the multinomial
// loss orders 2 and 3 are s p
extern "C" __global__ void row_terms(i64 n, int m, int K, FH_ROWS, double a0, double a1, int order,
                                     int bit, const double* Z, double* out) {
    const RowWeights rows = {weight, mask, n_folds};
    const double a[2] = {a0, a1};
    const int n_units = m / K;
    for (i64 k = i64(blockIdx.x) * blockDim.x + threadIdx.x; k < n * n_units;
         k += i64(gridDim.x) * blockDim.x) {
        const i64 i = k / n_units, at = k * K;
        const double s = rows.at(i, fold[k % n_units * K], bit), z = Z[at];
        if (K == 1) {
            double v = 0.0;
            if (s != 0.0)
                v = order == 0   ? Loss::value(y[i], z, a)
                    : order == 1 ? Loss::d1(y[i], z, a)
                    : order == 2 ? Loss::d2(y[i], z, a)
                                 : Loss::d3(y[i], z, a);
            out[at] = s != 0.0 ? s * v : 0.0;
            continue;
        }
        double* o = out + at;
        const double v = fh::Softmax::value(K, y[i], Z + at, a, o);
        if (order == 1) fh::Softmax::Target(K, a).subtract_from(K, y[i], o);
        for (int c = 0; c < K; ++c)
            o[c] = order == 0 ? (c == 0 && s != 0.0 ? s * v : 0.0) : s != 0.0 ? s * o[c] : 0.0;
    }
}

// Z (n, m) -> (diag(sp) - spp') z for every unit of K classes, in place; C (n, n_folds K) is s p
extern "C" __global__ void curve(i64 n, int m, int K, const double* C, int n_folds, const int* fold,
                                 double* Z, const int* n_active) {
    if (n_active && *n_active == 0) return;
    const int n_units = m / K;
    for (i64 k = i64(blockIdx.x) * blockDim.x + threadIdx.x; k < n * n_units;
         k += i64(gridDim.x) * blockDim.x)
        fh::Softmax::curve(K, C + (k / n_units * n_folds + fold[k % n_units * K]) * K, Z + k * K,
                           Z + k * K);
}

// parts (B, F k k): sums over rows of (A_if + B_if x_i q_f)(x_i u_a)(x_i u_e) from Z (n, k F K + F
// K) = X [U Q], where column (a F + f) K + c is class c of u_a of fold f. B may be null. With K > 1
// the covariance of u_a and u_e under p and their third central moment with q, as csrc/passes.hpp.
extern "C" __global__ void contract(i64 n, int F, int k, int K, const double* A, const double* B,
                                    const double* Z, int m, double* parts) {
    column_sums<1>(n, F * k * k, parts, [&](i64 i, int o, double* sum) {
        const int f = o / (k * k), a = o / k % k, e = o % k;
        const double *z = Z + i * m, *u = z + (a * F + f) * K, *v = z + (e * F + f) * K,
                     *q = z + (k * F + f) * K;
        if (K == 1) {
            const double c = B ? A[i * F + f] + B[i * F + f] * q[0] : A[i * F + f];
            if (c != 0.0) sum[0] += c * u[0] * v[0];
            return;
        }
        for (int third = 0; third < (B ? 2 : 1); ++third) {
            const double* w = (third ? B : A) + (i * F + f) * K;
            double s = 0.0, mean_u = 0.0, mean_v = 0.0, mean_q = 0.0, moment = 0.0;
            for (int c = 0; c < K; ++c) s += w[c];
            if (s == 0.0) continue;
            for (int c = 0; c < K; ++c) {
                mean_u += w[c] / s * u[c];
                mean_v += w[c] / s * v[c];
                if (third) mean_q += w[c] / s * q[c];
            }
            for (int c = 0; c < K; ++c)
                moment += w[c] * (u[c] - mean_u) * (v[c] - mean_v) * (third ? q[c] - mean_q : 1.0);
            sum[0] += moment;
        }
    });
}

// The second stage of the sums above, in one block: out (Q, m) from parts (B, Q, m), Q = 1 or 2
extern "C" __global__ void add_up(i64 n_parts, int Q, int m, const double* parts, double* out) {
    if (Q == 2)
        add_parts<2>(n_parts, m, parts, out);
    else
        add_parts<1>(n_parts, m, parts, out);
}
