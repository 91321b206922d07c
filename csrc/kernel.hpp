// Kernel matrices K, and products and sums with them and with their derivatives, over tiles of
// pairs of rows: K itself need not be there.
//
// K = phi(s), s = sum_k v_k, with v_k = (x_k - y_k)^2, |x_k - y_k| or x_k y_k of features that were
// scaled by their widths. The derivative in the logarithm of width k is phi'(s) v_k, the second one
// phi''(s) v_k v_l + (k = l) phi'(s) v_k; of one width for all features v = s ("shared").
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "losses.hpp"
#include "parallel.hpp"
#include "views.hpp"

namespace fh {

enum class Pair { squares, distances, products, given };  // what v_k is; given: s is an array
enum class Shape { exponential, power };                  // phi: exp(-s) or (s + shift)^degree

struct KernelFunction {
    Pair pair;
    Shape shape;
    double shift = 0.0, degree = 1.0;
};

// Rows against rows: X (n, p) row-major, Y (m, p) the same of other rows, or X itself
// ("symmetric": of pairs only those on and below the diagonal are computed). Of pairs that are
// given X is s (n, m) with rows `stride` apart.
struct Pairs {
    KernelFunction kernel;
    int64_t n, m, p;
    const double *X, *Y;
    int64_t stride;
    double scale;  // of pairs that are given
    bool is_symmetric, is_shared;
    int64_t n_directions() const { return is_shared ? 1 : p; }
};

constexpr int64_t tile_rows = 16, tile_cols = 64;  // 8 KB an array: several stay in the first cache
constexpr int64_t kernel_chunks = 32;  // at most, whatever the threads: bits do not depend on them

// One tile: rows i0.. of X, columns j0.. of Y, with Y's features as rows of 64 (0 beyond the last)
struct Tile {
    int64_t i0, j0, n_i, n_j;
    double s[tile_rows][tile_cols], K[tile_rows][tile_cols], first[tile_rows][tile_cols],
        second[tile_rows][tile_cols];
};

template <Pair pair>
FH_FN double of_pair(double x, double y) {
    const double d = x - y;
    return pair == Pair::squares ? d * d : pair == Pair::distances ? fabs_(d) : x * y;
}

template <Pair pair>
FH_CLONES void fill_pairs(const double* X, int64_t p, const double* Yt, Tile& t) {
    constexpr int lanes = 32;  // of four rows they stay in registers
    for (int64_t i = 0; i < t.n_i; i += 4) {
        const double* x[4];
        for (int a = 0; a < 4; ++a) x[a] = X + (t.i0 + std::min(i + a, t.n_i - 1)) * p;
        for (int64_t l = 0; l < tile_cols; l += lanes) {
            double s0[lanes] = {}, s1[lanes] = {}, s2[lanes] = {}, s3[lanes] = {};
            for (int64_t k = 0; k < p; ++k) {
                const double* y = Yt + k * tile_cols + l;
                const double x0 = x[0][k], x1 = x[1][k], x2 = x[2][k], x3 = x[3][k];
#pragma omp simd
                for (int j = 0; j < lanes; ++j) {
                    s0[j] += of_pair<pair>(x0, y[j]);
                    s1[j] += of_pair<pair>(x1, y[j]);
                    s2[j] += of_pair<pair>(x2, y[j]);
                    s3[j] += of_pair<pair>(x3, y[j]);
                }
            }
            std::copy_n(s0, lanes, t.s[i] + l);
            std::copy_n(s1, lanes, t.s[i + 1] + l);
            std::copy_n(s2, lanes, t.s[i + 2] + l);
            std::copy_n(s3, lanes, t.s[i + 3] + l);
        }
    }
}

// exp(-60) = 9e-27 is nothing beside a diagonal of 1. Kept, products of such numbers are denormal,
// with which a Cholesky factor took 25 times as long.
constexpr double nothing_beyond = 60.0;

FH_CLONES inline void exponentials(int64_t n, const double* s, double* K) {
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) K[k] = s[k] > nothing_beyond ? 0.0 : exp_neg(-s[k]);
}

// K, phi' and phi'' of a tile
inline void fill_values(const KernelFunction& kernel, Tile& t, bool has_derivatives) {
    const int64_t n = t.n_i * tile_cols;
    double *s = t.s[0], *K = t.K[0], *first = t.first[0], *second = t.second[0];
    if (kernel.shape == Shape::exponential) {
        exponentials(n, s, K);
        if (has_derivatives)
            for (int64_t k = 0; k < n; ++k) first[k] = -K[k], second[k] = K[k];
        return;
    }
    const double d = kernel.degree;
    if (d == 1.0) {
        for (int64_t k = 0; k < n; ++k) K[k] = s[k] + kernel.shift, first[k] = 1.0, second[k] = 0.0;
        return;
    }
    for (int64_t k = 0; k < n; ++k) {
        const double base = s[k] + kernel.shift;
        K[k] = std::pow(base, d);
        if (has_derivatives) {
            first[k] = d * std::pow(base, d - 1.0);
            second[k] = d * (d - 1.0) * std::pow(base, d - 2.0);
        }
    }
}

// v_k of one row with the columns of a tile
template <Pair pair>
FH_CLONES void pair_feature(double x, const double* y, double* v) {
#pragma omp simd
    for (int j = 0; j < tile_cols; ++j) v[j] = of_pair<pair>(x, y[j]);
}

inline void pair_feature(Pair pair, double x, const double* y, double* v) {
    if (pair == Pair::squares)
        pair_feature<Pair::squares>(x, y, v);
    else if (pair == Pair::distances)
        pair_feature<Pair::distances>(x, y, v);
    else
        pair_feature<Pair::products>(x, y, v);
}

FH_CLONES inline double dot_lanes(const double* a, const double* b) {
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < tile_cols; ++j) sum += a[j] * b[j];
    return sum;
}
FH_CLONES inline void add_lanes(double factor, const double* a, double* out) {
#pragma omp simd
    for (int j = 0; j < tile_cols; ++j) out[j] += factor * a[j];
}
FH_CLONES inline void multiply_lanes(const double* a, const double* b, double* out) {
#pragma omp simd
    for (int j = 0; j < tile_cols; ++j) out[j] = a[j] * b[j];
}

// Columns of A (m, c) as rows of 64 lanes for every block of columns of the tiles, 0 beyond m
inline Block<double> packed(const double* A, int64_t m, int64_t c) {
    const int64_t n_blocks = (m + tile_cols - 1) / tile_cols;
    auto out = new_block<double>(size_t(n_blocks * tile_cols * c));
    std::fill_n(out.get(), n_blocks * tile_cols * c, 0.0);
    for (int64_t j = 0; j < m; ++j)
        for (int64_t k = 0; k < c; ++k)
            out[((j / tile_cols) * c + k) * tile_cols + j % tile_cols] = A[j * c + k];
    return out;
}
inline void add_unpacked(const double* packed, int64_t m, int64_t c, double* A) {
    for (int64_t j = 0; j < m; ++j)
        for (int64_t k = 0; k < c; ++k)
            A[j * c + k] += packed[((j / tile_cols) * c + k) * tile_cols + j % tile_cols];
}

// f(chunk, tile, Y's features) for every tile. Chunks are rows of tiles, the tiles of one come in
// order. Beyond the diagonal of symmetric ones s is computed all the same.
template <class F>
void for_tiles(Team& team, const Pairs& pairs, int64_t n_chunks, bool has_derivatives, F&& f) {
    const bool is_given = pairs.kernel.pair == Pair::given;
    Block<double> Yt;
    if (!is_given) Yt = packed(pairs.Y, pairs.m, pairs.p);
    auto area = [&](int64_t i) {
        return double(pairs.is_symmetric ? i * (i + tile_cols) / 2 : i * pairs.m);
    };
    parallel_chunks(team, n_chunks, [&](int64_t c) {
        const int64_t begin = balanced_begin(c, n_chunks, pairs.n, tile_rows, area),
                      end = balanced_begin(c + 1, n_chunks, pairs.n, tile_rows, area);
        auto tile = new_block<Tile>(1);
        Tile& t = tile[0];
        for (t.i0 = begin; t.i0 < end; t.i0 += tile_rows) {
            if (is_caller()) team.poll();
            if (team.is_stopped.load(std::memory_order_relaxed)) return;
            t.n_i = std::min(tile_rows, end - t.i0);
            const int64_t m = pairs.is_symmetric ? std::min(pairs.m, t.i0 + t.n_i) : pairs.m;
            for (t.j0 = 0; t.j0 < m; t.j0 += tile_cols) {
                t.n_j = std::min(tile_cols, m - t.j0);
                const double* y = is_given ? nullptr : Yt.get() + t.j0 * pairs.p;
                if (is_given) {
                    for (int64_t i = 0; i < t.n_i; ++i) {
                        const double* given = pairs.X + (t.i0 + i) * pairs.stride + t.j0;
                        for (int64_t j = 0; j < t.n_j; ++j) t.s[i][j] = pairs.scale * given[j];
                        std::fill(t.s[i] + t.n_j, t.s[i] + tile_cols, 0.0);
                    }
                } else if (pairs.kernel.pair == Pair::squares) {
                    fill_pairs<Pair::squares>(pairs.X, pairs.p, y, t);
                } else if (pairs.kernel.pair == Pair::distances) {
                    fill_pairs<Pair::distances>(pairs.X, pairs.p, y, t);
                } else {
                    fill_pairs<Pair::products>(pairs.X, pairs.p, y, t);
                }
                fill_values(pairs.kernel, t, has_derivatives);
                f(c, t, y);
            }
        }
    });
}

inline int64_t n_kernel_chunks(const Pairs& pairs) {
    return std::clamp<int64_t>(pairs.n / (4 * tile_rows), 1, kernel_chunks);
}

// K (order 0) or its derivatives of order 1 or 2 in the logarithm of one width for all features,
// into out (n, m) with rows `stride` apart; of symmetric pairs the lower triangle.
template <class T>
void kernel_matrix(Team& team, const Pairs& pairs, int order, T* out, int64_t stride) {
    for_tiles(team, pairs, n_kernel_chunks(pairs), order > 0, [&](int64_t, Tile& t, const double*) {
        for (int64_t i = 0; i < t.n_i; ++i) {
            if (order > 0) {
                multiply_lanes(t.first[i], t.s[i], t.K[i]);
                multiply_lanes(t.second[i], t.s[i], t.second[i]);
                if (order == 2)
                    for (int j = 0; j < tile_cols; ++j) t.K[i][j] += t.second[i][j] * t.s[i][j];
            }
            const int64_t n_j = pairs.is_symmetric ? std::min(t.n_j, t.i0 + i + 1 - t.j0) : t.n_j;
            for (int64_t j = 0; j < n_j; ++j) out[(t.i0 + i) * stride + t.j0 + j] = T(t.K[i][j]);
        }
    });
}

// The diagonal of K of symmetric pairs, (n,)
inline void kernel_diagonal(const Pairs& pairs, double* out) {
    const KernelFunction& kernel = pairs.kernel;
    for (int64_t i = 0; i < pairs.n; ++i) {
        double s = 0.0;  // of squares and distances it is
        if (kernel.pair == Pair::given) s = pairs.scale * pairs.X[i * pairs.stride + i];
        if (kernel.pair == Pair::products)
            for (int64_t k = 0; k < pairs.p; ++k)
                s += pairs.X[i * pairs.p + k] * pairs.X[i * pairs.p + k];
        const bool is_power = kernel.shape == Shape::power;
        out[i] = is_power ? std::pow(s + kernel.shift, kernel.degree) : exp_neg(-s);
    }
}

// Weights of a tile's pairs for a product or a sum over both halves of symmetric pairs from the
// lower one: entries above the diagonal are not there, those on it must count once.
inline void clear_upper(const Pairs& pairs, const Tile& t, double (*w)[tile_cols], bool halve) {
    if (!pairs.is_symmetric) return;
    for (int64_t i = 0; i < t.n_i; ++i) {
        const int64_t diagonal = t.i0 + i - t.j0;
        if (diagonal >= tile_cols) continue;
        if (halve && diagonal >= 0) w[i][diagonal] *= 0.5;
        for (int64_t j = std::max<int64_t>(0, diagonal + 1); j < tile_cols; ++j) w[i][j] = 0.0;
    }
}

// What a product takes and gives: out (n, c) += W A with A (m, c), and back (m, d) += W' B with B
// (n, d); W is K, or a derivative. Of symmetric pairs B is A, and both are added to `out`.
// `n_weights`: how many W there are, one block of `out` and of `back` after another.
struct Products {
    const double *A = nullptr, *B = nullptr;
    int64_t c = 0, d = 0;
    double *out = nullptr, *back = nullptr;
};

// W_k A and W_k' B for W = K (is_derivative false) or for the first derivatives in all directions
inline void kernel_products(Team& team, const Pairs& pairs, bool is_derivative, Products io) {
    const int64_t n = pairs.n, m = pairs.m, n_chunks = n_kernel_chunks(pairs);
    const int64_t D = is_derivative ? pairs.n_directions() : 1, c = io.c;
    const int64_t d = pairs.is_symmetric ? c : io.d;
    const double* B = pairs.is_symmetric ? io.A : io.B;
    const Block<double> At = packed(io.A, m, c);
    const int64_t m_padded = (m + tile_cols - 1) / tile_cols * tile_cols;
    std::vector<Block<double>> back(n_chunks);
    std::vector<int64_t> reach(n_chunks, 0);  // columns that a chunk wrote
    std::fill_n(io.out, D * n * c, 0.0);
    for_tiles(team, pairs, n_chunks, is_derivative, [&](int64_t chunk, Tile& t, const double* y) {
        if (d > 0 && !back[chunk]) {
            back[chunk] = new_block<double>(size_t(D * m_padded * d));
            std::fill_n(back[chunk].get(), D * m_padded * d, 0.0);
        }
        reach[chunk] = std::max(reach[chunk], t.j0 + t.n_j);
        auto* W = is_derivative ? t.first : t.K;
        clear_upper(pairs, t, W, true);
        double v[tile_cols], w[tile_cols];
        for (int64_t i = 0; i < t.n_i; ++i) {
            const int64_t row = t.i0 + i;
            for (int64_t k = 0; k < D; ++k) {
                const double* weights = W[i];
                if (is_derivative && pairs.is_shared) {
                    multiply_lanes(W[i], t.s[i], w);
                    weights = w;
                } else if (is_derivative) {
                    pair_feature(pairs.kernel.pair, pairs.X[row * pairs.p + k], y + k * tile_cols,
                                 v);
                    multiply_lanes(W[i], v, w);
                    weights = w;
                }
                double* out = io.out + (k * n + row) * c;
                for (int64_t a = 0; a < c; ++a)
                    out[a] += dot_lanes(weights, At.get() + t.j0 * c + a * tile_cols);
                for (int64_t a = 0; a < d; ++a)
                    add_lanes(B[row * d + a], weights,
                              back[chunk].get() + k * m_padded * d + t.j0 * d + a * tile_cols);
            }
        }
    });
    if (team.is_stopped || d == 0) return;
    double* to = pairs.is_symmetric ? io.out : io.back;
    if (!pairs.is_symmetric) std::fill_n(to, D * m * d, 0.0);
    parallel_chunks(team, D, [&](int64_t k) {
        for (int64_t chunk = 0; chunk < n_chunks; ++chunk)
            if (back[chunk])
                add_unpacked(back[chunk].get() + k * m_padded * d, reach[chunk], d, to + k * m * d);
    });
}

// sum_ij (P Z')_ij of the derivatives of K_ij: grad (D) of the first, hess (D, D) of the second.
// P is (n, c), Z (m, c). W (n, n), the lower triangle of a symmetric matrix, is added to P Z' of
// symmetric pairs where it is there.
inline void kernel_sums(Team& team, const Pairs& pairs, const double* P, const double* Z, int64_t c,
                        const double* W, double* grad, double* hess) {
    const int64_t D = pairs.n_directions(), n_chunks = n_kernel_chunks(pairs);
    const Block<double> Zt = packed(Z, pairs.m, c);
    const Block<double> Pt = pairs.is_symmetric ? packed(P, pairs.n, c) : Block<double>();
    std::vector<std::vector<double>> grads(n_chunks), hesses(n_chunks);
    for_tiles(team, pairs, n_chunks, true, [&](int64_t chunk, Tile& t, const double* y) {
        auto &g = grads[chunk], &h = hesses[chunk];
        if (g.empty()) g.assign(D, 0.0), h.assign(D * D, 0.0);
        std::vector<double> v(size_t(D) * tile_cols);
        double w[tile_cols], u[tile_cols];
        auto* weight = t.K;  // no longer of use
        for (int64_t i = 0; i < t.n_i; ++i) {
            std::fill_n(weight[i], tile_cols, 0.0);
            if (W) {
                const double* row = W + (t.i0 + i) * pairs.n + t.j0;
                const int64_t n_j = std::min(t.n_j, t.i0 + i + 1 - t.j0);
                for (int64_t j = 0; j < n_j; ++j) weight[i][j] = 2.0 * row[j];
            }
            for (int64_t a = 0; a < c; ++a) {
                add_lanes(P[(t.i0 + i) * c + a], Zt.get() + t.j0 * c + a * tile_cols, weight[i]);
                if (pairs.is_symmetric)
                    add_lanes(Z[(t.i0 + i) * c + a], Pt.get() + t.j0 * c + a * tile_cols,
                              weight[i]);
            }
        }
        clear_upper(pairs, t, weight, true);
        for (int64_t i = 0; i < t.n_i; ++i) {
            multiply_lanes(weight[i], t.first[i], w);
            multiply_lanes(weight[i], t.second[i], u);
            if (pairs.is_shared) {
                const double first = dot_lanes(w, t.s[i]);
                multiply_lanes(u, t.s[i], u);
                g[0] += first;
                h[0] += first + dot_lanes(u, t.s[i]);
                continue;
            }
            for (int64_t k = 0; k < D; ++k) {
                pair_feature(pairs.kernel.pair, pairs.X[(t.i0 + i) * pairs.p + k],
                             y + k * tile_cols, v.data() + k * tile_cols);
                g[k] += dot_lanes(w, v.data() + k * tile_cols);
            }
            if (!hess) continue;
            double uv[tile_cols];
            for (int64_t k = 0; k < D; ++k) {
                multiply_lanes(u, v.data() + k * tile_cols, uv);
                for (int64_t l = 0; l <= k; ++l)
                    h[k * D + l] += dot_lanes(uv, v.data() + l * tile_cols);
            }
        }
    });
    std::fill_n(grad, D, 0.0);
    std::vector<double> H(size_t(D * D), 0.0);
    for (int64_t chunk = 0; chunk < n_chunks; ++chunk) {
        for (size_t k = 0; k < grads[chunk].size(); ++k) grad[k] += grads[chunk][k];
        for (size_t k = 0; k < hesses[chunk].size(); ++k) H[k] += hesses[chunk][k];
    }
    if (!hess) return;
    for (int64_t k = 0; k < D; ++k) {
        for (int64_t l = 0; l <= k; ++l) hess[k * D + l] = hess[l * D + k] = H[k * D + l];
        if (!pairs.is_shared) hess[k * D + k] += grad[k];
    }
}

}  // namespace fh
