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
// the columns on a cache line. Without a product in float32 every solve runs in float64.
struct Product {
    ProductOf<double> in_double;
    ProductOf<float> in_float;
};

// H x_c = b_c for m columns in units of K. b (p, m) holds the residuals on return; x (p, m) holds
// the start unless is_zero_start, and the solutions on return
struct CgSystems {
    int64_t p;
    int m, K;
    double *b, *x;
    bool is_zero_start;
};

// Where a solve stops: at |b_c - H x_c| <= tol[c], at |x_c| = radius[c] unless that is null
struct CgLimits {
    const double *tol, *radius;
    int max_iterations;
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

constexpr int n_until_refresh = 500;  // steps

// The state of a solve, and its steps in the order of `run`. The coefficients and what stands for
// H on them are in this memory wherever the rows are, so that only the product is anybody's.
template <class U>
struct CgSolve {
    Team& team;
    const CgSystems& systems;
    const ProductOf<U>& product;
    const Preconditioner& pre;
    const CgLimits& limits;
    CgColumn* result;
    const int64_t p = systems.p, n_blocks = n_feature_blocks(systems.p);
    const int m = systems.m, K = systems.K;
    double *const b = systems.b, *const x = systems.x;

    int n = m;                             // active columns
    std::vector<int> cols = first_cols();  // their numbers
    // (p, n) of these columns; z = P^-1 r of an inverse
    Block<U> r = block(), d = block(), hd = block(), z = pre.inverse ? block() : nullptr;
    // xx, xd and dd are x'Px, x'Pd and d'Pd from a start at 0
    std::vector<double> rz = zeros(), xx = zeros(), xd = zeros(), dd = zeros(), alpha = zeros(),
                        beta = zeros(), dhd = zeros();
    std::vector<double> parts = zeros(n_blocks);  // sums over each block of features
    std::vector<double> Br = zeros(pre.rank);     // B' r, (rank, n)

    Block<U> block() const { return new_block<U>(size_t(p) * m); }
    std::vector<double> zeros(int64_t rows = 1) const {
        return std::vector<double>(size_t(rows) * m, 0.0);
    }
    std::vector<int> first_cols() const {
        std::vector<int> all(m);
        for (int j = 0; j < m; ++j) all[j] = j;
        return all;
    }

    void run() {
        start();
        if (team.is_stopped) {
            for (int j = 0; j < n; ++j) result[j].status = interrupted;
            return;
        }
        measure();
        for (int iteration = 0;; ++iteration) {
            test(iteration);
            if (n == 0 || team.poll()) break;
            turn();
            multiply();
            if (team.is_stopped) break;
            step(iteration);
            if ((iteration + 1) % n_until_refresh == 0 && n > 0) refresh();
            if (team.is_stopped) break;
        }
        for (int j = 0; j < n; ++j) finish(j, interrupted);
    }

    void start() {  // r = b - H x, d = 0
        if (systems.is_zero_start) {
            parallel_features(team, p * m, [&](int64_t, int64_t k0, int64_t k1) {
                for (int64_t k = k0; k < k1; ++k) {
                    x[k] = 0.0;
                    r[k] = U(b[k]);
                    d[k] = U(0);
                }
            });
            return;
        }
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

    void measure() {  // rz from r
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
    }
    void sum_parts(double* out) {
        for (int j = 0; j < n; ++j) {
            out[j] = 0.0;
            for (int64_t block = 0; block < n_blocks; ++block) out[j] += parts[block * m + j];
        }
        unite(out, n, K);
    }
    void finish_norms() {  // rz with what is no diagonal, from r and the diagonal's part
        if (pre.inverse) {
            times_inverse(team, pre, p, n, r.get(), z.get());
            column_dots(team, p, n, r.get(), z.get(), rz.data());
            unite(rz.data(), n, K);
            clamp(n, rz.data());
        }
        if (!pre.low_rank) return;
        times_low_rank(team, pre, p, n, r.get(), Br.data());
        subtract_low_rank(pre, n, K, Br.data(), rz.data());
    }

    void test(int iteration) {  // lets go of columns that are done
        std::vector<int> keep;
        for (int j = 0; j < n; ++j) {
            result[cols[j]].n_iter = iteration;
            const bool is_start = iteration == 0 && !systems.is_zero_start;
            if (!std::isfinite(rz[j]))
                finish(j, nonfinite);
            else if (std::sqrt(rz[j]) <= limits.tol[cols[j]] * (is_start ? start_tol : 1.0))
                finish(j, converged);
            else if (iteration >= limits.max_iterations)
                finish(j, max_iter);
            else
                keep.push_back(j);
        }
        compact(keep);
    }
    void finish(int j, int status) {  // column at position j leaves with its residual in b
        CgColumn& c = result[cols[j]];
        c.residual = std::sqrt(rz[j]);
        c.length = std::sqrt(std::max(xx[j], 0.0));
        c.status = status;
        if (c.n_iter > 0) c.energy = c.energy_left(rz[j]);
        for (int64_t k = 0; k < p; ++k) b[k * m + cols[j]] = r[k * n + j];
    }
    // takes finished columns out of r and d (and z); `keep` lists the positions that stay
    void compact(const std::vector<int>& keep) {
        const int n_new = int(keep.size());
        if (n_new == n) return;
        for (int64_t k = 0; k < p; ++k)
            for (int j = 0; j < n_new; ++j) {
                r[k * n_new + j] = r[k * n + keep[j]];
                d[k * n_new + j] = d[k * n + keep[j]];
                if (z) z[k * n_new + j] = z[k * n + keep[j]];
            }
        for (int c = 0; c < pre.rank; ++c)
            for (int j = 0; j < n_new; ++j) Br[c * n_new + j] = Br[c * n + keep[j]];
        for (int j = 0; j < n_new; ++j) {
            cols[j] = cols[keep[j]];
            for (auto* v : {&rz, &xx, &xd, &dd, &alpha, &beta}) (*v)[j] = (*v)[keep[j]];
        }
        n = n_new;
    }

    void turn() {  // d = P^-1 r + beta d
        for (int j = 0; j < n; ++j) {
            xd[j] = beta[j] * (xd[j] + alpha[j] * dd[j]);
            dd[j] = rz[j] + beta[j] * beta[j] * dd[j];
        }
        parallel_features(team, p, [&](int64_t, int64_t k0, int64_t k1) {
            if (pre.n_diag > 1) return turn_by_class(k0, k1);
            with_width(n, [&](auto width) {
                constexpr int M = decltype(width)::value;
                turn_rows<M>(k0, k1);
                if (!pre.rank) return;
                take_low_rank<M>(k0, std::min(k1, pre.n_hot - 1), 0);
                if (k0 < p && p <= k1) take_low_rank<M>(p - 1, p, pre.n_hot - p);
            });
        });
    }
    void turn_by_class(int64_t k0, int64_t k1) {
        for (int64_t k = k0; k < k1; ++k)
            for (int j = 0; j < n; ++j)
                d[k * n + j] = U(pre.diagonal[k * pre.n_diag + j % pre.n_diag]) * r[k * n + j] +
                               U(beta[j]) * d[k * n + j];
    }
    template <int M>
    void turn_rows(int64_t k0, int64_t k1) {  // with the width known to the compiler, or M = 0
        const int m_ = M ? M : n;
        const U* zz = pre.inverse ? z.get() : r.get();
        U* rows = d.get();
        U local[max_width] = {};
        for (int j = 0; j < M; ++j) local[j] = U(beta[j]);
        for (int64_t k = k0; k < k1; ++k) {
            const U scale = pre.diagonal ? U(pre.diagonal[k]) : U(1);
            for (int j = 0; j < m_; ++j)
                rows[k * m_ + j] =
                    scale * zz[k * m_ + j] + (M ? local[j] : U(beta[j])) * rows[k * m_ + j];
        }
    }
    template <int M>
    void take_low_rank(int64_t k0, int64_t k1, int64_t shift) {  // d -= B Br; row k + shift of B
        U* rows = d.get();
        const double* sums = Br.data();
        for (int64_t k = k0; k < k1; ++k) {
            double taken[max_width] = {};
            for (int c = 0; c < pre.rank; ++c) {
                const double e = pre.low_rank[(k + shift) * pre.rank + c];
                if (M)
                    for (int j = 0; j < M; ++j) taken[j] += e * sums[c * M + j];
                else
                    for (int j = 0; j < n; ++j) rows[k * n + j] -= U(e * sums[c * n + j]);
            }
            for (int j = 0; j < M; ++j) rows[k * M + j] -= U(taken[j]);
        }
    }

    void multiply() {  // hd = H d and d'Hd
        product(cols.data(), n, d.get(), hd.get(), [&](int64_t block, int64_t k0, int64_t k1) {
            double* s = parts.data() + block * m;
            std::fill(s, s + n, 0.0);
            block_dots(k0, k1, n, d.get(), hd.get(), s);
        });
    }

    void step(int iteration) {
        sum_parts(dhd.data());
        std::vector<int> keep = find_lengths(iteration);
        const std::vector<int> outside = stay_in_ball(keep);
        update();
        std::vector<double> rz_old(rz.begin(), rz.begin() + n);
        sum_parts(rz.data());
        finish_norms();
        for (int j = 0; j < n; ++j) beta[j] = rz[j] / rz_old[j];
        for (int j : outside) {
            finish(j, at_radius);
            keep.erase(std::find(keep.begin(), keep.end(), j));
        }
        compact(keep);
    }
    std::vector<int> find_lengths(int iteration) {  // alpha, and who has one
        std::vector<int> keep;
        for (int j = 0; j < n; ++j) {
            if (!(std::isfinite(dhd[j]) && dhd[j] > 0.0)) {
                finish(j, std::isfinite(dhd[j]) ? indefinite : nonfinite);
                alpha[j] = 0.0;
                continue;
            }
            alpha[j] = rz[j] / dhd[j];
            result[cols[j]].alpha[iteration % 4] = alpha[j];
            result[cols[j]].rz[iteration % 4] = rz[j];
            keep.push_back(j);
        }
        return keep;
    }
    std::vector<int> stay_in_ball(const std::vector<int>& keep) {  // whose step would leave it
        std::vector<int> outside;
        for (int j : keep) {
            const double next = xx[j] + 2.0 * alpha[j] * xd[j] + alpha[j] * alpha[j] * dd[j];
            const double R =
                limits.radius ? limits.radius[cols[j]] : std::numeric_limits<double>::infinity();
            if (next < R * R) {
                xx[j] = next;
                continue;
            }
            const double room = std::max(0.0, R * R - xx[j]);
            alpha[j] = room / (xd[j] + std::sqrt(xd[j] * xd[j] + dd[j] * room));
            xx[j] = R * R;
            outside.push_back(j);
        }
        return outside;
    }

    void update() {  // x += alpha d, r -= alpha hd, and the diagonal's part of the norms of r
        parallel_features(team, p, [&](int64_t block, int64_t k0, int64_t k1) {
            double* s = parts.data() + block * m;
            std::fill(s, s + n, 0.0);
            if (n < m || pre.n_diag > 1) return update_some(k0, k1, s);
            with_width(n, [&](auto width) {  // the usual case
                update_all<decltype(width)::value>(k0, k1, s);
            });
        });
    }
    template <int M>
    void update_all(int64_t k0, int64_t k1, double* s) {
        const int m_ = M ? M : n;
        const U *rows = d.get(), *hh = hd.get();
        U* rd = r.get();
        double local[max_width] = {}, length[max_width] = {};
        double* sums = M ? local : s;
        for (int j = 0; j < M; ++j) length[j] = alpha[j];
        for (int64_t k = k0; k < k1; ++k) {
            const double scale = pre.diagonal ? pre.diagonal[k] : 1.0;
            for (int j = 0; j < m_; ++j) {
                const double a = M ? length[j] : alpha[j];
                x[k * m_ + j] += a * rows[k * m_ + j];
                const double v = rd[k * m_ + j] = U(rd[k * m_ + j] - a * hh[k * m_ + j]);
                sums[j] += scale * v * v;
            }
        }
        for (int j = 0; j < M; ++j) s[j] = local[j];
    }
    void update_some(int64_t k0, int64_t k1, double* s) {
        for (int64_t k = k0; k < k1; ++k)
            for (int j = 0; j < n; ++j) {
                const double scale = pre.at(k, j);
                x[k * m + cols[j]] += alpha[j] * d[k * n + j];
                const double v = r[k * n + j] = U(r[k * n + j] - alpha[j] * hd[k * n + j]);
                s[j] += scale * v * v;
            }
    }

    // invariant: r = b - H x up to rounding; rarely, since each time costs conjugacy (every 50:
    // 13-49 % more steps)
    void refresh() {
        Block<U> now = new_block<U>(size_t(p) * n);
        for (int64_t k = 0; k < p; ++k)
            for (int j = 0; j < n; ++j) now[k * n + j] = U(x[k * m + cols[j]]);
        product(cols.data(), n, now.get(), hd.get(), nullptr);
        if (team.is_stopped) return;
        for (int64_t k = 0; k < p; ++k)
            for (int j = 0; j < n; ++j)
                r[k * n + j] = U(b[k * m + cols[j]] - double(hd[k * n + j]));
        const std::vector<double> rz_kept(rz.begin(), rz.begin() + n);
        measure();
        for (int j = 0; j < n; ++j) beta[j] *= rz[j] / rz_kept[j];
    }
};

constexpr double float_limit = 3e-3;  // relative residual down to which float32 blocks serve: 4
                                      // orders of magnitude above their rounding

// Whether float32 holds the preconditioner: for columns of X about 1e-20 it is about 1e40.
inline bool fits_float(const Preconditioner& pre, int64_t p) {
    bool fits = true;
    for (int64_t k = 0; pre.diagonal && fits && k < p * pre.n_diag; ++k)
        fits = pre.diagonal[k] < 1e30 && pre.diagonal[k] > 1e-30;
    return fits;
}

// `result` (m) says how every column ended.
inline void cg(Team& team, const CgSystems& systems, const Product& product,
               const Preconditioner& pre, const CgLimits& limits, CgColumn* result) {
    const int m = systems.m;
    const double* b = systems.b;
    std::vector<double> bb(m), norms(m);
    column_dots(team, systems.p, m, b, b, bb.data());
    unite(bb.data(), m, systems.K);
    squared_norms(team, pre, systems.p, m, systems.K, b, norms.data());
    // float32 pays where a row of the block is longer than a cache line: 15 columns of 20
    // newsgroups take 9.8 ms an iteration instead of 17.8, and 44 iterations instead of 34 since
    // conjugacy is lost sooner; up to 8 columns the time is the same and only the iterations grow
    bool is_loose = product.in_float && !pre.inverse && m > max_group<double>;
    for (int j = 0; j < m; ++j)
        is_loose &= bb[j] == 0.0 || (limits.tol[j] >= float_limit * std::sqrt(norms[j]) &&
                                     bb[j] > 1e-40 && bb[j] < 1e40);
    if (is_loose && fits_float(pre, systems.p))
        CgSolve<float>{team, systems, product.in_float, pre, limits, result}.run();
    else
        CgSolve<double>{team, systems, product.in_double, pre, limits, result}.run();
}

}  // namespace fh
