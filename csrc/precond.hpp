// Preconditioners, and the norms that they give: residuals r are measured as sqrt(r' P^-1 r).
#pragma once
#include <algorithm>
#include <vector>

#include "passes.hpp"

namespace fh {

// s[j] += sum over rows k0..k1 of a[k, j] b[k, j]
template <class U>
void block_dots(int64_t k0, int64_t k1, int m, const U* a, const U* b, double* s) {
    with_width(m, [&](auto width) {
        constexpr int M = decltype(width)::value;
        const int m_ = M ? M : m;
        double local[max_width] = {};
        double* sums = M ? local : s;
        for (int64_t k = k0; k < k1; ++k)
            for (int j = 0; j < m_; ++j) sums[j] += double(a[k * m_ + j]) * double(b[k * m_ + j]);
        for (int j = 0; j < M; ++j) s[j] += local[j];
    });
}

// out[j] = sum_k a[k, j] b[k, j], the same bits for every number of threads
template <class U>
void column_dots(Team& team, int64_t p, int m, const U* a, const U* b, double* out) {
    std::vector<double> parts(size_t(n_feature_blocks(p)) * m, 0.0);
    parallel_features(team, p, [&](int64_t block, int64_t k0, int64_t k1) {
        block_dots(k0, k1, m, a, b, parts.data() + block * m);
    });
    for (int j = 0; j < m; ++j) {
        out[j] = 0.0;
        for (int64_t block = 0; block < n_feature_blocks(p); ++block)
            out[j] += parts[block * m + j];
    }
}

// z = P^-1 r for every system: nothing, an inverse diagonal (p), or one for each column of a unit
// (p, n_diag), an inverse diagonal less B B' with B (n_hot, rank) in the first n_hot - 1
// coefficients and the last one, where an intercept is, or an inverse matrix (p, p)
struct Preconditioner {
    const double* diagonal = nullptr;
    int n_diag = 1;
    const double* inverse = nullptr;
    const double* low_rank = nullptr;
    int64_t n_hot = 0;
    int rank = 0;
    double at(int64_t k, int j) const { return diagonal ? diagonal[k * n_diag + j % n_diag] : 1.0; }
};

// Columns come in units of K that are one vector together (the classes of the multinomial loss):
// each sum becomes that of its unit.
inline void unite(double* v, int n, int K) {
    for (int j = 0; K > 1 && j < n; j += K) {
        double s = 0.0;
        for (int c = 0; c < K; ++c) s += v[j + c];
        for (int c = 0; c < K; ++c) v[j + c] = s;
    }
}

// z (p, m) = P^-1 r with the dense inverse
template <class U>
void times_inverse(Team& team, const Preconditioner& pre, int64_t p, int m, const U* r, U* z) {
    parallel_features(team, p, [&](int64_t, int64_t k0, int64_t k1) {
        for (int64_t k = k0; k < k1; ++k) {
            std::fill(z + k * m, z + (k + 1) * m, U(0));
            for (int64_t i = 0; i < p; ++i)
                for (int j = 0; j < m; ++j)
                    z[k * m + j] += U(pre.inverse[k * p + i]) * r[i * m + j];
        }
    });
}

// Br (rank, m) = B' r with the low rank part
template <class U>
void times_low_rank(Team& team, const Preconditioner& pre, int64_t p, int m, const U* r,
                    double* Br) {
    const int64_t n_blocks = n_feature_blocks(pre.n_hot), size = int64_t(pre.rank) * m;
    std::vector<double> sums(size_t(n_blocks) * size, 0.0);
    parallel_features(team, pre.n_hot, [&](int64_t block, int64_t k0, int64_t k1) {
        with_width(m, [&](auto width) {
            constexpr int M = decltype(width)::value;
            const int m_ = M ? M : m;
            double* s = sums.data() + block * size;
            for (int64_t k = k0; k < k1; ++k) {
                double v[M ? M : 1];
                const U* r_k = r + (k + 1 < pre.n_hot ? k : p - 1) * m_;
                for (int j = 0; j < M; ++j) v[j] = r_k[j];
                for (int c = 0; c < pre.rank; ++c) {
                    const double b = pre.low_rank[k * pre.rank + c];
                    for (int j = 0; j < m_; ++j) s[c * m_ + j] += b * (M ? v[j] : double(r_k[j]));
                }
            }
        });
    });
    std::fill(Br, Br + size, 0.0);
    for (int64_t block = 0; block < n_blocks; ++block)
        for (int64_t i = 0; i < size; ++i) Br[i] += sums[block * size + i];
}

// Squares that rounding made negative are 0; NaN stays.
inline void clamp(int m, double* out) {
    for (int j = 0; j < m; ++j) out[j] = out[j] < 0.0 ? 0.0 : out[j];
}

// out[j] -= |B' r_j|^2 of the unit
inline void subtract_low_rank(const Preconditioner& pre, int m, int K, const double* Br,
                              double* out) {
    std::vector<double> taken(m, 0.0);
    for (int c = 0; c < pre.rank; ++c)
        for (int j = 0; j < m; ++j) taken[j] += Br[c * m + j] * Br[c * m + j];
    unite(taken.data(), m, K);
    for (int j = 0; j < m; ++j) out[j] -= taken[j];
    clamp(m, out);
}

// out[j] = r_j' P^-1 r_j, that of the unit in each of its columns
inline void squared_norms(Team& team, const Preconditioner& pre, int64_t p, int m, int K,
                          const double* r, double* out) {
    if (pre.inverse) {
        Block<double> z = new_block<double>(size_t(p) * m);
        times_inverse(team, pre, p, m, r, z.get());
        column_dots(team, p, m, r, z.get(), out);
        unite(out, m, K);
        return clamp(m, out);
    }
    std::vector<double> parts(size_t(n_feature_blocks(p)) * m, 0.0);
    parallel_features(team, p, [&](int64_t block, int64_t k0, int64_t k1) {
        double* s = parts.data() + block * m;
        for (int64_t k = k0; k < k1; ++k)
            for (int j = 0; j < m; ++j) {
                const double v = r[k * m + j], scale = pre.at(k, j);
                s[j] += scale * v * v;
            }
    });
    std::fill(out, out + m, 0.0);
    for (int64_t block = 0; block < n_feature_blocks(p); ++block)
        for (int j = 0; j < m; ++j) out[j] += parts[block * m + j];
    unite(out, m, K);
    if (!pre.low_rank) return;
    std::vector<double> Br(size_t(pre.rank) * m);
    times_low_rank(team, pre, p, m, r, Br.data());
    subtract_low_rank(pre, m, K, Br.data(), out);
}

// z (p, m) = P^-1 r
inline void precondition(Team& team, const Preconditioner& pre, int64_t p, int m, const double* r,
                         double* z) {
    if (pre.inverse) return times_inverse(team, pre, p, m, r, z);
    std::vector<double> Br(size_t(pre.rank) * m);
    if (pre.low_rank) times_low_rank(team, pre, p, m, r, Br.data());
    parallel_features(team, p, [&](int64_t, int64_t k0, int64_t k1) {
        for (int64_t k = k0; k < k1; ++k) {
            const int64_t hot = k + 1 == p ? pre.n_hot - 1 : k + 1 < pre.n_hot ? k : -1;
            for (int j = 0; j < m; ++j) {
                double taken = 0.0;
                for (int c = 0; hot >= 0 && c < pre.rank; ++c)
                    taken += pre.low_rank[hot * pre.rank + c] * Br[c * m + j];
                z[k * m + j] = pre.at(k, j) * r[k * m + j] - taken;
            }
        }
    });
}

}  // namespace fh
