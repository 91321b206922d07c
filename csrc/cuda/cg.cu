// Batched preconditioned conjugate gradients: the algorithm of csrc/cg.hpp with every scalar on the
// device. One iteration is this file's kernels in order around one Hessian product; a column that
// is done gets d = 0 and a step of 0, and when all are done every kernel returns at once, so that
// the host may launch some iterations (a graph of them) before it looks. Floor of the vector part:
// 9 reads and writes of a block (p, m), 72 m bytes a coefficient, beside 24 bytes for each of its
// stored entries.
#include "columns.cuh"

namespace {

enum Status { converged = 0, max_iter = 1, indefinite = 2, nonfinite = 3, at_radius = 4 };
// rows of `s` (n_scalars, m) and of `state` (n_states, m); alpha and rz of the last 4 steps are
// rings
enum {
    RZ,
    ALPHA,
    BETA,
    TOL,
    RADIUS,
    DHD,
    XD,
    DD,
    XX,
    RING_ALPHA,
    RING_RZ = RING_ALPHA + 4,
    N_SCALARS = RING_RZ + 4
};
enum { STATUS, N_ITER, IS_ACTIVE, IS_OUTSIDE };
enum { N_ACTIVE, N_PRODUCTS };  // of counts

__device__ inline bool is_finite(double v) { return v - v == 0.0; }

// Each of the m values becomes the sum over its unit of K columns.
__device__ inline void unite(double* v, int m, int K) {
    __syncthreads();
    for (int j = threadIdx.x * K; K > 1 && j < m; j += blockDim.x * K) {
        double sum = 0.0;
        for (int c = 0; c < K; ++c) sum += v[j + c];
        for (int c = 0; c < K; ++c) v[j + c] = sum;
    }
    __syncthreads();
}

}  // namespace

// d = P^-1 r + beta d. z: P^-1 r of a dense inverse, or null; diagonal (p, n_diag) or null; Br
// (rank, m) = B' r with low_rank B (n_hot, rank), whose last row is that of the last coefficient
extern "C" __global__ void cg_direction(i64 p, int m, const double* r, const double* z,
                                        const double* diagonal, int n_diag, const double* low_rank,
                                        i64 n_hot, int rank, const double* Br, const double* s,
                                        const int* state, double* d, const int* counts) {
    if (counts[N_ACTIVE] == 0) return;
    for (i64 at = i64(blockIdx.x) * blockDim.x + threadIdx.x; at < p * m;
         at += i64(gridDim.x) * blockDim.x) {
        const i64 k = at / m;
        const int j = int(at % m);
        double v = z ? z[at] : diagonal ? diagonal[k * n_diag + j % n_diag] * r[at] : r[at];
        const i64 row = k == p - 1 ? n_hot - 1 : k;
        for (int c = 0; row < n_hot - (k < p - 1) && c < rank; ++c)
            v -= low_rank[row * rank + c] * Br[c * m + j];
        d[at] = state[IS_ACTIVE * m + j] ? v + s[BETA * m + j] * d[at] : 0.0;
    }
}

// parts (B, m): d'Hd
extern "C" __global__ void cg_dots(i64 p, int m, const double* d, const double* hd, double* parts,
                                   const int* counts) {
    if (counts[N_ACTIVE] == 0) return;
    column_sums<1>(p, m, parts,
                   [&](i64 k, int j, double* s) { s[0] += d[k * m + j] * hd[k * m + j]; });
}

// The step of every column, and which leave: one block
extern "C" __global__ void cg_step(i64 n_parts, int m, int K, const double* parts, double* s,
                                   int* state, int* counts) {
    if (counts[N_ACTIVE] == 0) return;
    add_parts<1>(n_parts, m, parts, s + DHD * m);
    unite(s + DHD * m, m, K);
    __syncthreads();
    for (int j = threadIdx.x; j < m; j += blockDim.x) {
        double& alpha = s[ALPHA * m + j];
        alpha = 0.0;
        if (!state[IS_ACTIVE * m + j]) continue;
        const double dhd = s[DHD * m + j], rz = s[RZ * m + j];
        if (!is_finite(dhd) || dhd <= 0.0) {
            state[STATUS * m + j] = is_finite(dhd) ? indefinite : nonfinite;
            state[IS_ACTIVE * m + j] = 0;
            continue;
        }
        alpha = rz / dhd;
        s[(RING_ALPHA + state[N_ITER * m + j] % 4) * m + j] = alpha;
        s[(RING_RZ + state[N_ITER * m + j] % 4) * m + j] = rz;
        const double R = s[RADIUS * m + j], xd = s[XD * m + j], dd = s[DD * m + j];
        double& xx = s[XX * m + j];
        const double room = R * R > xx ? R * R - xx : 0.0,
                     next = xx + 2.0 * alpha * xd + alpha * alpha * dd;
        xx = next < R * R ? next : R * R;
        if (next < R * R) continue;
        alpha = room > 0.0 ? room / (xd + sqrt(xd * xd + dd * room)) : 0.0;
        state[IS_OUTSIDE * m + j] = 1;
    }
    if (threadIdx.x == 0) ++counts[N_PRODUCTS];
}

// x += alpha d, r -= alpha Hd, parts (B, m): r'Dr
extern "C" __global__ void cg_update(i64 p, int m, const double* d, const double* hd,
                                     const double* diagonal, int n_diag, const double* s, double* x,
                                     double* r, double* parts, const int* counts) {
    if (counts[N_ACTIVE] == 0) return;
    column_sums<1>(p, m, parts, [&](i64 k, int j, double* sum) {
        const i64 at = k * m + j;
        const double alpha = s ? s[ALPHA * m + j] : 0.0;  // no s: only the sums
        if (alpha != 0.0) {
            x[at] += alpha * d[at];
            r[at] -= alpha * hd[at];
        }
        const double v = r[at];
        sum[0] += v * (diagonal ? diagonal[k * n_diag + j % n_diag] * v : v);
    });
}

// z = inverse r, inverse (p, p) with p of a hundred or so; parts (B, m): r'z
extern "C" __global__ void cg_inverse(i64 p, int m, const double* inverse, const double* r,
                                      double* z, double* parts, const int* counts) {
    if (counts[N_ACTIVE] == 0) return;
    column_sums<1>(p, m, parts, [&](i64 k, int j, double* s) {
        double v = 0.0;
        for (i64 i = 0; i < p; ++i) v += inverse[k * p + i] * r[i * m + j];
        z[k * m + j] = v;
        s[0] += v * r[k * m + j];
    });
}

// parts (B, rank m): B' r over the first n_hot - 1 coefficients and the last
extern "C" __global__ void cg_low_rank(i64 n_hot, i64 p, int rank, int m, const double* low_rank,
                                       const double* r, double* parts, const int* counts) {
    if (counts[N_ACTIVE] == 0) return;
    column_sums<1>(n_hot, rank * m, parts, [&](i64 k, int o, double* s) {
        s[0] += low_rank[k * rank + o / m] * r[(k + 1 < n_hot ? k : p - 1) * m + o % m];
    });
}

// r'z of the new r, beta, and which columns are done: one block. sums (m) is scratch. kind 0:
// before the first step; 1: after a step; 2: r was computed anew, which changes rz but makes no
// step
extern "C" __global__ void cg_test(i64 n_parts, int m, int K, int kind, double start_tol,
                                   int max_iterations, const double* parts,
                                   const double* parts_inverse, i64 n_parts_low,
                                   const double* parts_low, int rank, double* Br, double* sums,
                                   double* s, int* state, int* counts) {
    if (counts[N_ACTIVE] == 0) return;
    add_parts<1>(n_parts, m, parts_inverse ? parts_inverse : parts, sums);
    if (rank) add_parts<1>(n_parts_low, rank * m, parts_low, Br);
    __syncthreads();
    for (int j = threadIdx.x; j < m; j += blockDim.x)
        for (int c = 0; c < rank; ++c) sums[j] -= Br[c * m + j] * Br[c * m + j];
    unite(sums, m, K);
    for (int j = threadIdx.x; j < m; j += blockDim.x) {
        int* status = state + STATUS * m + j;
        int* is_active = state + IS_ACTIVE * m + j;
        if (!*is_active) continue;
        const double old = s[RZ * m + j], rz = sums[j] < 0.0 ? 0.0 : sums[j];  // NaN stays
        s[RZ * m + j] = rz;
        if (state[IS_OUTSIDE * m + j]) {
            *status = at_radius;
            *is_active = 0;
            continue;
        }
        double& beta = s[BETA * m + j];
        beta = kind == 0 ? 0.0 : kind == 1 ? rz / old : beta * rz / old;
        if (kind < 2) {
            double &xd = s[XD * m + j], &dd = s[DD * m + j];
            xd = beta * (xd + s[ALPHA * m + j] * dd);
            dd = rz + beta * beta * dd;
        }
        const int n = state[N_ITER * m + j] += kind == 1;
        if (!is_finite(rz))
            *status = nonfinite;
        else if (sqrt(rz) <= s[TOL * m + j] * (kind == 0 ? start_tol : 1.0))
            *status = converged;
        else if (n < max_iterations)
            continue;
        *is_active = 0;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        int n = 0;
        for (int j = 0; j < m; ++j) n += state[IS_ACTIVE * m + j];
        counts[N_ACTIVE] = n;
    }
}
