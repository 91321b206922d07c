// Preconditioned conjugate gradients for m systems at once (Saad, Iterative Methods for Sparse
// Linear Systems, 2nd ed., Alg. 9.1), over anything with a product. Every column has its own alpha
// and beta and stops on its own; finished columns leave the block. With a radius, a column stops
// where it would leave the ball (Steihaug 1983).
#pragma once
#include <cmath>
#include <functional>
#include <vector>

#include "passes.hpp"

namespace fh {

enum Status {
    converged = 0,
    max_iter = 1,
    indefinite = 2,
    nonfinite = 3,
    at_radius = 4,
    stalled = 5,
    interrupted = 6
};

// out = H d for the columns cols[0..m) of the systems (d and out are compact, p x m); the epilogue
// sees finished blocks of features
template <class U>
using ProductOf = std::function<void(const int* cols, int m, const U* d, U* out, const Epilogue&)>;

// The product in both precisions. Loose solves run in float32: half the memory traffic and twice
// the columns on a cache line.
struct Product {
    ProductOf<double> in_double;
    ProductOf<float> in_float;
};

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
};

struct CgColumn {
    int n_iter = 0;
    double residual = 0.0;
    double energy = -1.0;  // estimate of e'He, e = x* - x; -1 before a step
    int status = max_iter;
    double alpha[4] = {}, rz[4] = {};  // of the last 4 steps, a ring

    // e'He = sum of alpha_j r'z_j over the steps to come (Hestenes & Stiefel 1952): a geometric
    // series at the rate of the last 4 steps
    double energy_left(double rz_now) const {
        const int n = std::min(n_iter, 4);
        const double before = rz[(n_iter - n) % 4],
                     rate = before > 0.0 ? std::pow(std::max(rz_now, 0.0) / before, 1.0 / n) : 0.0;
        const double least = n < 3 ? 0.6 : 0.0;  // the first steps fall faster than those to come
        return *std::max_element(alpha, alpha + n) * std::max(rz_now, 0.0) /
               (1.0 - std::min(std::max(rate, least), 0.95));
    }
};

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

// A start that meets its tolerance all the same takes one step, whose length tells the energy of
// what is left; a better one does not
constexpr double start_tol = 0.01;

// Columns come in units of K that are one vector together (the classes of the multinomial loss):
// each sum becomes that of its unit.
inline void unite(double* v, int n, int K) {
    for (int j = 0; K > 1 && j < n; j += K) {
        double s = 0.0;
        for (int c = 0; c < K; ++c) s += v[j + c];
        for (int c = 0; c < K; ++c) v[j + c] = s;
    }
}

template <class U>
void cg_in(Team& team, int64_t p, int m, int K, const ProductOf<U>& product,
           const Preconditioner& pre, double* b, double* x, bool is_zero_start, const double* tol,
           const double* radius, int max_iterations, CgColumn* result) {
    const int64_t n_blocks = n_feature_blocks(p);
    std::vector<int> cols(m);
    for (int j = 0; j < m; ++j) cols[j] = j;
    int n = m;  // active columns; r, d, hd are (p, n)
    Block<U> r = new_block<U>(size_t(p) * m), d = new_block<U>(size_t(p) * m),
             hd = new_block<U>(size_t(p) * m);
    Block<U> z_store = pre.inverse ? new_block<U>(size_t(p) * m) : nullptr;
    std::vector<double> parts(size_t(n_blocks) * m * 3), rr(m), rz(m), xx(m, 0.0), alpha(m),
        beta(m), dhd(m);
    std::vector<double> Br(size_t(pre.rank) * m);  // B' r of the n active columns, (rank, n)

    auto sum_parts = [&](int k, double* out) {  // quantity k of the n active columns
        for (int j = 0; j < n; ++j) {
            out[j] = 0.0;
            for (int64_t block = 0; block < n_blocks; ++block)
                out[j] += parts[(block * 3 + k) * m + j];
        }
        unite(out, n, K);
    };
    auto apply_inverse = [&] {  // z = P^-1 r with the dense inverse, and rz
        parallel_features(team, p, [&](int64_t block, int64_t k0, int64_t k1) {
            double* s = parts.data() + (block * 3 + 1) * m;
            std::fill(s, s + n, 0.0);
            for (int64_t k = k0; k < k1; ++k) {
                U* z = z_store.get() + k * n;
                std::fill(z, z + n, U(0));
                for (int64_t i = 0; i < p; ++i)
                    for (int j = 0; j < n; ++j) z[j] += U(pre.inverse[k * p + i]) * r[i * n + j];
                for (int j = 0; j < n; ++j) s[j] += double(z[j]) * double(r[k * n + j]);
            }
        });
        sum_parts(1, rz.data());
    };
    auto apply_low_rank = [&] {  // B' r, and what it takes from rz
        const int64_t n_hot_blocks = n_feature_blocks(pre.n_hot), size = int64_t(pre.rank) * n;
        std::vector<double> sums(size_t(n_hot_blocks) * size, 0.0);
        parallel_features(team, pre.n_hot, [&](int64_t block, int64_t k0, int64_t k1) {
            with_width(n, [&](auto width) {
                constexpr int M = decltype(width)::value;
                const int m_ = M ? M : n;
                double* s = sums.data() + block * size;
                for (int64_t k = k0; k < k1; ++k) {
                    double v[M ? M : 1];
                    const U* r_k = r.get() + (k + 1 < pre.n_hot ? k : p - 1) * m_;
                    for (int j = 0; j < M; ++j) v[j] = r_k[j];
                    for (int c = 0; c < pre.rank; ++c) {
                        const double b = pre.low_rank[k * pre.rank + c];
                        for (int j = 0; j < m_; ++j)
                            s[c * m_ + j] += b * (M ? v[j] : double(r_k[j]));
                    }
                }
            });
        });
        std::fill(Br.begin(), Br.end(), 0.0);
        for (int64_t block = 0; block < n_hot_blocks; ++block)
            for (int64_t i = 0; i < size; ++i) Br[i] += sums[block * size + i];
        std::vector<double> taken(n, 0.0);
        for (int c = 0; c < pre.rank; ++c)
            for (int j = 0; j < n; ++j) taken[j] += Br[c * n + j] * Br[c * n + j];
        unite(taken.data(), n, K);
        for (int j = 0; j < n; ++j) rz[j] -= taken[j];
    };
    // takes finished columns out of r and d (and z); `keep` lists the positions that stay
    auto compact = [&](const std::vector<int>& keep) {
        const int n_new = int(keep.size());
        for (int64_t k = 0; k < p; ++k)
            for (int j = 0; j < n_new; ++j) {
                r[k * n_new + j] = r[k * n + keep[j]];
                d[k * n_new + j] = d[k * n + keep[j]];
                if (z_store) z_store[k * n_new + j] = z_store[k * n + keep[j]];
            }
        for (int c = 0; c < pre.rank; ++c)
            for (int j = 0; j < n_new; ++j) Br[c * n_new + j] = Br[c * n + keep[j]];
        for (int j = 0; j < n_new; ++j) {
            cols[j] = cols[keep[j]];
            rr[j] = rr[keep[j]];
            rz[j] = rz[keep[j]];
            xx[j] = xx[keep[j]];
        }
        n = n_new;
    };
    auto finish = [&](int j, int status) {  // column at position j leaves with its residual in b
        CgColumn& c = result[cols[j]];
        c.residual = std::sqrt(rr[j]);
        c.status = status;
        if (c.n_iter > 0) c.energy = c.energy_left(rz[j]);
        for (int64_t k = 0; k < p; ++k) b[k * m + cols[j]] = r[k * n + j];
    };

    if (is_zero_start) {
        parallel_features(team, p * m, [&](int64_t, int64_t k0, int64_t k1) {
            for (int64_t k = k0; k < k1; ++k) {
                x[k] = 0.0;
                r[k] = U(b[k]);
                d[k] = U(0);
            }
        });
    } else {
        parallel_features(team, p * m, [&](int64_t, int64_t k0, int64_t k1) {
            for (int64_t k = k0; k < k1; ++k) d[k] = U(x[k]);
        });
        product(cols.data(), n, d.get(), hd.get(), nullptr);
        parallel_features(team, p * m, [&](int64_t, int64_t k0, int64_t k1) {
            for (int64_t k = k0; k < k1; ++k) {
                r[k] = U(b[k] - double(hd[k]));
                d[k] = U(0);
            }
        });
        column_dots(team, p, m, x, x, xx.data());
        unite(xx.data(), m, K);
    }
    if (team.is_stopped) {
        for (int j = 0; j < n; ++j) result[j].status = interrupted;
        return;
    }
    auto measure = [&] {  // rr and rz from r
        parallel_features(team, p, [&](int64_t block, int64_t k0, int64_t k1) {
            double* s = parts.data() + block * 3 * m;
            std::fill(s, s + 3 * m, 0.0);
            for (int64_t k = k0; k < k1; ++k)
                for (int j = 0; j < n; ++j) {
                    const double v = r[k * n + j];
                    s[j] += v * v;
                    if (!pre.inverse)
                        s[m + j] +=
                            v *
                            (pre.diagonal ? pre.diagonal[k * pre.n_diag + j % pre.n_diag] * v : v);
                }
        });
        sum_parts(0, rr.data());
        sum_parts(1, rz.data());
        if (pre.inverse) apply_inverse();
        if (pre.low_rank) apply_low_rank();
    };
    measure();
    std::fill(beta.begin(), beta.end(), 0.0);

    for (int iteration = 0;; ++iteration) {
        std::vector<int> keep;
        for (int j = 0; j < n; ++j) {
            result[cols[j]].n_iter = iteration;
            if (!std::isfinite(rr[j]))
                finish(j, nonfinite);
            else if (std::sqrt(rr[j]) <=
                     tol[cols[j]] * (iteration > 0 || is_zero_start ? 1.0 : start_tol))
                finish(j, converged);
            else if (iteration >= max_iterations)
                finish(j, max_iter);
            else
                keep.push_back(j);
        }
        if (int(keep.size()) < n) {
            for (size_t j = 0; j < keep.size(); ++j) beta[j] = beta[keep[j]];
            compact(keep);
        }
        if (n == 0 || team.poll()) break;

        // d = z + beta d
        parallel_features(team, p, [&](int64_t, int64_t k0, int64_t k1) {
            if (pre.n_diag > 1) {
                for (int64_t k = k0; k < k1; ++k)
                    for (int j = 0; j < n; ++j)
                        d[k * n + j] =
                            U(pre.diagonal[k * pre.n_diag + j % pre.n_diag]) * r[k * n + j] +
                            U(beta[j]) * d[k * n + j];
                return;
            }
            with_width(n, [&](auto width) {
                constexpr int M = decltype(width)::value;
                const int m_ = M ? M : n;
                const U* zz = pre.inverse ? z_store.get() : r.get();
                U* dd = d.get();
                U local[max_width] = {};
                for (int j = 0; j < M; ++j) local[j] = U(beta[j]);
                for (int64_t k = k0; k < k1; ++k) {
                    const U scale = pre.diagonal ? U(pre.diagonal[k]) : U(1);
                    for (int j = 0; j < m_; ++j)
                        dd[k * m_ + j] =
                            scale * zz[k * m_ + j] + (M ? local[j] : U(beta[j])) * dd[k * m_ + j];
                }
                auto take = [&](int64_t k, int64_t row) {  // row of B from coefficient k
                    double z[max_width] = {};
                    for (int c = 0; c < pre.rank; ++c) {
                        const double b = pre.low_rank[row * pre.rank + c];
                        if (M)
                            for (int j = 0; j < M; ++j) z[j] += b * Br[c * M + j];
                        else
                            for (int j = 0; j < n; ++j) dd[k * n + j] -= U(b * Br[c * n + j]);
                    }
                    for (int j = 0; j < M; ++j) dd[k * M + j] -= U(z[j]);
                };
                for (int64_t k = k0; k < std::min(k1, pre.n_hot - 1); ++k) take(k, k);
                if (pre.rank && k0 < p && p <= k1) take(p - 1, pre.n_hot - 1);
            });
        });
        product(cols.data(), n, d.get(), hd.get(), [&](int64_t block, int64_t k0, int64_t k1) {
            double* s = parts.data() + block * 3 * m;
            std::fill(s, s + n, 0.0);
            block_dots(k0, k1, n, d.get(), hd.get(), s);
        });
        if (team.is_stopped) break;
        sum_parts(0, dhd.data());
        keep.clear();
        for (int j = 0; j < n; ++j) {
            if (!std::isfinite(dhd[j])) {
                finish(j, nonfinite);
                alpha[j] = 0.0;
            } else if (dhd[j] <= 0.0) {
                finish(j, indefinite);
                alpha[j] = 0.0;
            } else {
                alpha[j] = rz[j] / dhd[j];
                result[cols[j]].alpha[iteration % 4] = alpha[j];
                result[cols[j]].rz[iteration % 4] = rz[j];
                keep.push_back(j);
            }
        }
        if (radius) {  // would the step leave the ball? xx, xd, dd are cheap beside a pass
            std::vector<double> xd(n), dd(n);
            column_dots(team, p, n, d.get(), d.get(), dd.data());
            for (int j = 0; j < n; ++j) {
                xd[j] = 0.0;
                for (int64_t k = 0; k < p; ++k) xd[j] += x[k * m + cols[j]] * d[k * n + j];
            }
            unite(xd.data(), n, K);
            unite(dd.data(), n, K);
            std::vector<int> inside, outside;
            std::vector<double> left(n, 0.0);
            for (int j : keep) {
                const double R = radius[cols[j]],
                             next = xx[j] + 2.0 * alpha[j] * xd[j] + alpha[j] * alpha[j] * dd[j];
                if (next < R * R) {
                    xx[j] = next;
                    inside.push_back(j);
                    continue;
                }
                const double t =
                    (R * R - xx[j]) /
                    (xd[j] + std::sqrt(xd[j] * xd[j] + dd[j] * std::max(0.0, R * R - xx[j])));
                for (int64_t k = 0; k < p; ++k) {
                    x[k * m + cols[j]] += t * d[k * n + j];
                    const double v = r[k * n + j] = U(r[k * n + j] - t * hd[k * n + j]);
                    left[j] += v * v;
                }
                outside.push_back(j);
                alpha[j] = 0.0;
            }
            unite(left.data(), n, K);
            for (int j : outside) {
                rr[j] = left[j];
                finish(j, at_radius);
            }
            keep.swap(inside);
        }
        // x += alpha d, r -= alpha hd, and the norms of the new r
        parallel_features(team, p, [&](int64_t block, int64_t k0, int64_t k1) {
            double* s = parts.data() + block * 3 * m;
            std::fill(s, s + 3 * m, 0.0);
            if (n == m &&
                pre.n_diag == 1) {  // the usual case, with the width known to the compiler
                with_width(n, [&](auto width) {
                    constexpr int M = decltype(width)::value;
                    const int m_ = M ? M : n;
                    const U *dd = d.get(), *hh = hd.get();
                    U* rd = r.get();
                    double sums[2 * max_width] = {}, step[max_width] = {};
                    double *s0 = M ? sums : s, *s1 = M ? sums + max_width : s + m;
                    for (int j = 0; j < M; ++j) step[j] = alpha[j];
                    for (int64_t k = k0; k < k1; ++k) {
                        const double scale = pre.diagonal ? pre.diagonal[k] : 1.0;
                        for (int j = 0; j < m_; ++j) {
                            const double a = M ? step[j] : alpha[j];
                            x[k * m_ + j] += a * dd[k * m_ + j];
                            const double v = rd[k * m_ + j] =
                                U(rd[k * m_ + j] - a * hh[k * m_ + j]);
                            s0[j] += v * v;
                            s1[j] += scale * v * v;
                        }
                    }
                    for (int j = 0; j < M; ++j) {
                        s[j] = sums[j];
                        s[m + j] = sums[max_width + j];
                    }
                });
                return;
            }
            for (int64_t k = k0; k < k1; ++k) {
                for (int j = 0; j < n; ++j) {
                    const double scale =
                        pre.diagonal ? pre.diagonal[k * pre.n_diag + j % pre.n_diag] : 1.0;
                    x[k * m + cols[j]] += alpha[j] * d[k * n + j];
                    const double v = r[k * n + j] = U(r[k * n + j] - alpha[j] * hd[k * n + j]);
                    s[j] += v * v;
                    s[m + j] += scale * v * v;
                }
            }
        });
        std::vector<double> rz_old(rz.begin(), rz.begin() + n);
        sum_parts(0, rr.data());
        if (pre.inverse)
            apply_inverse();
        else
            sum_parts(1, rz.data());
        if (pre.low_rank) apply_low_rank();
        for (int j = 0; j < n; ++j) beta[j] = rz[j] / rz_old[j];
        if (int(keep.size()) < n) {
            for (size_t j = 0; j < keep.size(); ++j) beta[j] = beta[keep[j]];
            compact(keep);
        }
        if (iteration % 500 == 499 &&
            n > 0) {  // invariant: r = b - H x up to rounding; rarely, since each time costs
                      // conjugacy (every 50: 13-49 % more steps)
            Block<U> now = new_block<U>(size_t(p) * n);
            for (int64_t k = 0; k < p; ++k)
                for (int j = 0; j < n; ++j) now[k * n + j] = U(x[k * m + cols[j]]);
            product(cols.data(), n, now.get(), hd.get(), nullptr);
            if (team.is_stopped) break;
            for (int64_t k = 0; k < p; ++k)
                for (int j = 0; j < n; ++j)
                    r[k * n + j] = U(b[k * m + cols[j]] - double(hd[k * n + j]));
            const std::vector<double> rz_kept(rz.begin(), rz.begin() + n);
            measure();
            for (int j = 0; j < n; ++j) beta[j] *= rz[j] / rz_kept[j];
        }
    }
    for (int j = 0; j < n; ++j) finish(j, interrupted);
}

constexpr double float_limit = 3e-3;  // relative residual down to which float32 blocks serve: 4
                                      // orders of magnitude above their rounding

// Solves H x_c = b_c until ||b_c - H x_c||_2 <= tol[c]; b and x are (p, m). x holds the start
// unless is_zero_start. radius may be null. On return b holds the residuals.
inline void cg(Team& team, int64_t p, int m, int K, const Product& product,
               const Preconditioner& pre, double* b, double* x, bool is_zero_start,
               const double* tol, const double* radius, int max_iterations, CgColumn* result) {
    std::vector<double> bb(m);
    column_dots(team, p, m, b, b, bb.data());
    unite(bb.data(), m, K);
    // float32 pays where a row of the block is longer than a cache line: 15 columns of 20
    // newsgroups take 9.8 ms an iteration instead of 17.8, and 44 iterations instead of 34 since
    // conjugacy is lost sooner; up to 8 columns the time is the same and only the iterations grow
    bool is_loose = !pre.inverse && m > max_group<double>;
    for (int j = 0; j < m; ++j)
        is_loose &= bb[j] == 0.0 ||
                    (tol[j] >= float_limit * std::sqrt(bb[j]) && bb[j] > 1e-40 && bb[j] < 1e40);
    if (is_loose)
        cg_in<float>(team, p, m, K, product.in_float, pre, b, x, is_zero_start, tol, radius,
                     max_iterations, result);
    else
        cg_in<double>(team, p, m, K, product.in_double, pre, b, x, is_zero_start, tol, radius,
                      max_iterations, result);
}

}  // namespace fh
