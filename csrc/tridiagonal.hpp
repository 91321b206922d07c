// Solutions of tridiagonal systems that differ by a multiple of the identity and a right-hand side.
#pragma once
#include <cstdint>
#include <vector>

#include "parallel.hpp"
#include "views.hpp"

namespace fh {

constexpr int tridiagonal_width = 16;  // columns that one sweep takes side by side

// W columns of `solve_tridiagonal`, from C and into out[k] with leading dimension m, in room for
// 2 n W numbers. The pivots of a positive definite matrix need no exchanges (Golub & Van Loan,
// Matrix Computations, 4th ed., 4.3.6).
template <class T>
FH_CLONES void sweep_tridiagonal(int64_t n, const double* d, const double* off, const double* shift,
                                 const T* C, int64_t m, int n_columns, int n_powers, T* const* out,
                                 double* room) {
    constexpr int W = tridiagonal_width;
    double *over = room, *v = room + n * W;  // 1 / pivots; the solution
    for (int64_t i = 0; i < n; ++i) {
        double* now = over + i * W;
        const double b = i ? off[i - 1] : 0.0;
#pragma omp simd
        for (int j = 0; j < W; ++j)
            now[j] = 1.0 / (d[i] + shift[j] - (i ? b * b * now[j - W] : 0.0));
    }
    for (int64_t i = 0; i < n; ++i)
        for (int j = 0; j < W; ++j) v[i * W + j] = j < n_columns ? double(C[i * m + j]) : 0.0;
    for (int k = 0; k < n_powers; ++k) {
        for (int64_t i = 0; i < n; ++i) {
            double* now = v + i * W;
#pragma omp simd
            for (int j = 0; j < W; ++j) now[j] *= k ? shift[j] : 1.0;
            if (i == 0) continue;
            const double *last = now - W, *o = over + (i - 1) * W;
#pragma omp simd
            for (int j = 0; j < W; ++j) now[j] -= off[i - 1] * o[j] * last[j];
        }
        for (int64_t i = n - 1; i >= 0; --i) {
            double* now = v + i * W;
            const double* o = over + i * W;
            const double b = i < n - 1 ? off[i] : 0.0;
#pragma omp simd
            for (int j = 0; j < W; ++j)
                now[j] = (now[j] - (b != 0.0 ? b * now[j + W] : 0.0)) * o[j];
            for (int j = 0; j < n_columns; ++j) out[k][i * m + j] = T(now[j]);
        }
    }
}

// out[k] (n, m) = shift_j^k (T + shift_j)^-(k+1) times column j of C (n, m), with T of diagonal d
// (n) and `off` (n - 1) beside it, positive definite with its shift; shift (m), or one for all.
template <class T>
void solve_tridiagonal(Team& team, int64_t n, const double* d, const double* off, int64_t n_shifts,
                       const double* shift, const T* C, int64_t m, int n_powers, T* const* out) {
    constexpr int W = tridiagonal_width;
    parallel_chunks(team, (m + W - 1) / W, [&](int64_t c) {
        const int64_t first = c * W;
        const int n_columns = int(std::min<int64_t>(W, m - first));
        thread_local std::vector<double> room;
        room.resize(size_t(n) * 2 * W);
        double shifts[W];
        for (int j = 0; j < W; ++j)
            shifts[j] = shift[n_shifts == 1 ? 0 : first + std::min(j, n_columns - 1)];
        T* to[8];
        for (int k = 0; k < n_powers; ++k) to[k] = out[k] + first;
        sweep_tridiagonal(n, d, off, shifts, C + first, m, n_columns, n_powers, to, room.data());
    });
}

}  // namespace fh
