// Preconditioned conjugate gradients for m systems at once (Saad, Iterative Methods for Sparse
// Linear Systems, 2nd ed., Alg. 9.1), over anything with a product. Every column has its own alpha
// and beta and stops on its own; finished columns leave the block. With a radius, a column stops
// where it would leave the ball (Steihaug 1983).
//
// Residuals are measured as sqrt(r' P^-1 r) and steps as sqrt(d' P d) with P the preconditioner,
// which stands for H: no unit of a feature, of the targets or of the weights is left in either.
// Without a preconditioner both are 2-norms.
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "precond.hpp"

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

struct CgColumn {
    int n_iter = 0;
    double residual = 0.0;
    double length = 0.0;   // of x, from a start at 0
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

// A start that meets its tolerance all the same takes one step, whose length tells the energy of
// what is left; a better one does not
constexpr double start_tol = 0.01;

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
    // of the n active columns; xx, xd and dd are x'Px, x'Pd and d'Pd from a start at 0
    std::vector<double> parts(size_t(n_blocks) * m), rz(m), xx(m, 0.0), xd(m, 0.0), dd(m, 0.0),
        alpha(m, 0.0), beta(m, 0.0), dhd(m);
    std::vector<double> Br(size_t(pre.rank) * m);  // B' r of the n active columns, (rank, n)

    auto sum_parts = [&](double* out) {
        for (int j = 0; j < n; ++j) {
            out[j] = 0.0;
            for (int64_t block = 0; block < n_blocks; ++block) out[j] += parts[block * m + j];
        }
        unite(out, n, K);
    };
    auto finish_norms = [&] {  // rz with what is no diagonal, from r and the diagonal's part
        if (pre.inverse) {
            times_inverse(team, pre, p, n, r.get(), z_store.get());
            column_dots(team, p, n, r.get(), z_store.get(), rz.data());
            unite(rz.data(), n, K);
            clamp(n, rz.data());
        }
        if (!pre.low_rank) return;
        times_low_rank(team, pre, p, n, r.get(), Br.data());
        subtract_low_rank(pre, n, K, Br.data(), rz.data());
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
            for (auto* v : {&rz, &xx, &xd, &dd, &alpha, &beta}) (*v)[j] = (*v)[keep[j]];
        }
        n = n_new;
    };
    auto finish = [&](int j, int status) {  // column at position j leaves with its residual in b
        CgColumn& c = result[cols[j]];
        c.residual = std::sqrt(rz[j]);
        c.length = std::sqrt(std::max(xx[j], 0.0));
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
    }
    if (team.is_stopped) {
        for (int j = 0; j < n; ++j) result[j].status = interrupted;
        return;
    }
    auto measure = [&] {  // rz from r
        parallel_features(team, p, [&](int64_t block, int64_t k0, int64_t k1) {
            double* s = parts.data() + block * m;
            std::fill(s, s + n, 0.0);
            for (int64_t k = k0; !pre.inverse && k < k1; ++k)
                for (int j = 0; j < n; ++j) {
                    const double v = r[k * n + j], scale = pre.at(k, j);
                    s[j] += scale * v * v;
                }
        });
        sum_parts(rz.data());
        finish_norms();
    };
    measure();

    for (int iteration = 0;; ++iteration) {
        std::vector<int> keep;
        for (int j = 0; j < n; ++j) {
            result[cols[j]].n_iter = iteration;
            if (!std::isfinite(rz[j]))
                finish(j, nonfinite);
            else if (std::sqrt(rz[j]) <=
                     tol[cols[j]] * (iteration > 0 || is_zero_start ? 1.0 : start_tol))
                finish(j, converged);
            else if (iteration >= max_iterations)
                finish(j, max_iter);
            else
                keep.push_back(j);
        }
        if (int(keep.size()) < n) compact(keep);
        if (n == 0 || team.poll()) break;
        for (int j = 0; j < n; ++j) {
            xd[j] = beta[j] * (xd[j] + alpha[j] * dd[j]);
            dd[j] = rz[j] + beta[j] * beta[j] * dd[j];
        }

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
            double* s = parts.data() + block * m;
            std::fill(s, s + n, 0.0);
            block_dots(k0, k1, n, d.get(), hd.get(), s);
        });
        if (team.is_stopped) break;
        sum_parts(dhd.data());
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
        std::vector<int> outside;  // would the step leave the ball?
        for (int j : keep) {
            const double next = xx[j] + 2.0 * alpha[j] * xd[j] + alpha[j] * alpha[j] * dd[j];
            const double R = radius ? radius[cols[j]] : std::numeric_limits<double>::infinity();
            if (next < R * R) {
                xx[j] = next;
                continue;
            }
            const double room = std::max(0.0, R * R - xx[j]);
            alpha[j] = room / (xd[j] + std::sqrt(xd[j] * xd[j] + dd[j] * room));
            xx[j] = R * R;
            outside.push_back(j);
        }
        // x += alpha d, r -= alpha hd, and the norms of the new r
        parallel_features(team, p, [&](int64_t block, int64_t k0, int64_t k1) {
            double* s = parts.data() + block * m;
            std::fill(s, s + n, 0.0);
            if (n == m &&
                pre.n_diag == 1) {  // the usual case, with the width known to the compiler
                with_width(n, [&](auto width) {
                    constexpr int M = decltype(width)::value;
                    const int m_ = M ? M : n;
                    const U *dd = d.get(), *hh = hd.get();
                    U* rd = r.get();
                    double local[max_width] = {}, step[max_width] = {};
                    double* sums = M ? local : s;
                    for (int j = 0; j < M; ++j) step[j] = alpha[j];
                    for (int64_t k = k0; k < k1; ++k) {
                        const double scale = pre.diagonal ? pre.diagonal[k] : 1.0;
                        for (int j = 0; j < m_; ++j) {
                            const double a = M ? step[j] : alpha[j];
                            x[k * m_ + j] += a * dd[k * m_ + j];
                            const double v = rd[k * m_ + j] =
                                U(rd[k * m_ + j] - a * hh[k * m_ + j]);
                            sums[j] += scale * v * v;
                        }
                    }
                    for (int j = 0; j < M; ++j) s[j] = local[j];
                });
                return;
            }
            for (int64_t k = k0; k < k1; ++k) {
                for (int j = 0; j < n; ++j) {
                    const double scale = pre.at(k, j);
                    x[k * m + cols[j]] += alpha[j] * d[k * n + j];
                    const double v = r[k * n + j] = U(r[k * n + j] - alpha[j] * hd[k * n + j]);
                    s[j] += scale * v * v;
                }
            }
        });
        std::vector<double> rz_old(rz.begin(), rz.begin() + n);
        sum_parts(rz.data());
        finish_norms();
        for (int j = 0; j < n; ++j) beta[j] = rz[j] / rz_old[j];
        for (int j : outside) {
            finish(j, at_radius);
            keep.erase(std::find(keep.begin(), keep.end(), j));
        }
        if (int(keep.size()) < n) compact(keep);
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

// Whether float32 holds the preconditioner: for columns of X about 1e-20 it is about 1e40.
inline bool fits_float(const Preconditioner& pre, int64_t p) {
    bool fits = true;
    for (int64_t k = 0; pre.diagonal && fits && k < p * pre.n_diag; ++k)
        fits = pre.diagonal[k] < 1e30 && pre.diagonal[k] > 1e-30;
    return fits;
}

// Solves H x_c = b_c until |b_c - H x_c| <= tol[c]; b and x are (p, m). x holds the start
// unless is_zero_start. radius may be null. On return b holds the residuals.
inline void cg(Team& team, int64_t p, int m, int K, const Product& product,
               const Preconditioner& pre, double* b, double* x, bool is_zero_start,
               const double* tol, const double* radius, int max_iterations, CgColumn* result) {
    std::vector<double> bb(m), norms(m);
    column_dots(team, p, m, b, b, bb.data());
    unite(bb.data(), m, K);
    squared_norms(team, pre, p, m, K, b, norms.data());
    // float32 pays where a row of the block is longer than a cache line: 15 columns of 20
    // newsgroups take 9.8 ms an iteration instead of 17.8, and 44 iterations instead of 34 since
    // conjugacy is lost sooner; up to 8 columns the time is the same and only the iterations grow
    bool is_loose = !pre.inverse && m > max_group<double>;
    for (int j = 0; j < m; ++j)
        is_loose &= bb[j] == 0.0 ||
                    (tol[j] >= float_limit * std::sqrt(norms[j]) && bb[j] > 1e-40 && bb[j] < 1e40);
    if (is_loose && fits_float(pre, p))
        cg_in<float>(team, p, m, K, product.in_float, pre, b, x, is_zero_start, tol, radius,
                     max_iterations, result);
    else
        cg_in<double>(team, p, m, K, product.in_double, pre, b, x, is_zero_start, tol, radius,
                      max_iterations, result);
}

}  // namespace fh
