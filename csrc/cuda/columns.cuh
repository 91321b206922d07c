// Sums over the rows of blocks (n, m) that are the same bits in every run: each sum is cut in a way
// that depends on sizes only, never on timing. Nothing here or in the kernels needs more than one
// thread a block or one lane a warp: so g++ can compile them too, and tests can run them.
#pragma once

typedef long long i64;

#ifndef FH_WARP
#define FH_WARP 32  // lanes that add up by shuffles
#endif
#define FH_MAX_THREADS 512  // of a block

struct Add {
    __device__ double operator()(double a, double b) const { return a + b; }
};
struct Max {
    __device__ double operator()(double a, double b) const { return !(b <= a) && a == a ? b : a; }
};  // NaN stays

// sums[at], sums[at + width], ... of n_lanes lanes -> their sum in lane 0. A tree: the order
// depends on n_lanes only.
template <class Op = Add>
__device__ inline void add_lanes(double* sums, int at, int width, int lane, int n_lanes) {
    int half = 1;
    while (half < n_lanes) half *= 2;
    for (half /= 2; half > 0; half /= 2) {
        __syncthreads();
        if (lane < half && lane + half < n_lanes)
            sums[at] = Op()(sums[at], sums[at + half * width]);
    }
    __syncthreads();
}

// Rows n b / B .. n (b + 1) / B of block b of B: f(row, column, s) adds to the Q sums s of its
// column; they go to out[(b Q + q) m + column].
template <int Q, class Op = Add, class F>
__device__ void column_sums(i64 n, int m, double* out, F f) {
    __shared__ double sums[Q * FH_MAX_THREADS];
    const i64 b = blockIdx.x, begin = n * b / gridDim.x, end = n * (b + 1) / gridDim.x;
    const int n_threads = blockDim.x, t = threadIdx.x;
    for (int c0 = 0; c0 < m; c0 += n_threads) {
        const int width = m - c0 < n_threads ? m - c0 : n_threads, n_lanes = n_threads / width,
                  lane = t / width, column = c0 + t % width;
        double s[Q] = {};
        if (lane < n_lanes)
            for (i64 k = begin + lane; k < end; k += n_lanes) f(k, column, s);
        for (int q = 0; q < Q; ++q) {
            sums[q * n_threads + t] = s[q];
            add_lanes<Op>(sums, q * n_threads + t, width, lane, n_lanes);
            if (lane == 0) out[(b * Q + q) * m + column] = sums[q * n_threads + t];
        }
        __syncthreads();
    }
}

// The second stage, in one block: the parts of B blocks added up, out[q m + column].
template <int Q>
__device__ void add_parts(i64 n_parts, int m, const double* parts, double* out) {
    column_sums<Q>(n_parts, m, out, [&](i64 k, int column, double* s) {
        for (int q = 0; q < Q; ++q) s[q] += parts[(k * Q + q) * m + column];
    });
}
