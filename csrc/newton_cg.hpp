// Inner solver: truncated Newton for F columns at once (folds, or strengths of a sweep), or F units
// of the columns of all classes: every scalar below is then that of the unit, the same in each of
// its columns, so that they step and stop together. The directions come from batched CG inside a
// trust region; a step that does not decrease the objective enough is shortened along itself on the
// cached predictions, which reads no X (Nocedal & Yuan 1998, "Combining trust region and line
// search techniques"), and its length becomes the next radius.
#pragma once
#include <limits>

#include "cg.hpp"

namespace fh {

struct InnerProblem {  // column f:  sum_i s_if loss(y_i, x_i w) + 1/2 sum_j lam_j,lam_of[f] w_j^2
    Matrix& X;
    const RowData& rows;
    Loss loss;
    int m;
    const int* fold;    // (m) which column of the row weights
    const double* lam;  // (n_coef, n_lam)
    int n_lam;
    const int* lam_of;  // (m)
    double lam_at(int64_t k, int f) const { return lam[k * n_lam + lam_of[f]]; }
};

struct NewtonColumn {
    int n_iter = 0, n_cg = 0, status = max_iter;
    double objective = 0.0, train = 0.0, held_out = 0.0, gradient_norm = 0.0;
};

// H = X' diag(C) X + diag(lam) for the listed columns; C (n, n_c) with column c_of[col], lam column
// lam_of[col]
template <class U>
ProductOf<U> hessian_product_in(Matrix& X, Team& team, const double* C, int n_c, int K,
                                const int* c_of, const double* lam, int n_lam, const int* lam_of) {
    return [=, &X, &team](const int* cols, int m, const U* d, U* out, const Epilogue& epilogue) {
        std::vector<int> c(m), l(m);
        for (int j = 0; j < m; ++j) {
            c[j] = c_of[cols[j]];
            l[j] = lam_of[cols[j]];
        }
        hvp<U>(X, team, C, n_c, K, c.data(), m, d, out, [&](int64_t b, int64_t k0, int64_t k1) {
            with_width(m, [&](auto width) {
                constexpr int M = decltype(width)::value;
                const int m_ = M ? M : m;
                if (n_lam == 1)
                    for (int64_t k = k0; k < k1; ++k)
                        for (int j = 0; j < m_; ++j) out[k * m_ + j] += U(lam[k]) * d[k * m_ + j];
                else
                    for (int64_t k = k0; k < k1; ++k)
                        for (int j = 0; j < m_; ++j)
                            out[k * m_ + j] += U(lam[k * n_lam + l[j]]) * d[k * m_ + j];
            });
            if (epilogue) epilogue(b, k0, k1);
        });
    };
}
inline Product hessian_product(Matrix& X, Team& team, const double* C, int n_c, int K,
                               const int* c_of, const double* lam, int n_lam, const int* lam_of) {
    return {hessian_product_in<double>(X, team, C, n_c, K, c_of, lam, n_lam, lam_of),
            hessian_product_in<float>(X, team, C, n_c, K, c_of, lam, n_lam, lam_of)};
}

constexpr double max_forcing = 0.25,
                 min_forcing = 1e-3;  // relative residuals of the linear systems

// Minimises until |gradient| <= tol[f] in the norm of cg.hpp for every column. W (n_coef, m) is
// start and result; G its gradients, Z (n, m) its predictions.
inline void newton_cg(Team& team, const InnerProblem& problem, const Preconditioner& pre, double* W,
                      double* G, double* Z, const double* tol, int max_iterations, int max_cg,
                      NewtonColumn* result) {
    const int m = problem.m, K = problem.loss.n_classes;
    const int64_t p = problem.X.n_coef(), n = problem.X.n_rows();
    const double eps = std::numeric_limits<double>::epsilon(),
                 infinity = std::numeric_limits<double>::infinity();
    std::vector<double> radius(m, infinity), forcing(m), lam_w(m, 0.0);
    std::vector<int> n_stalls(m, 0);

    // objective, gradient and predictions at w (p, a) for the listed columns
    auto evaluate = [&](const std::vector<int>& cols, const double* w, double* g, double* z,
                        NewtonColumn* out) {
        const int a = int(cols.size());
        std::vector<int> fold(a);
        for (int j = 0; j < a; ++j) fold[j] = problem.fold[cols[j]];
        std::vector<double> train(a), held(a), ww(a, 0.0), gg(a);  // ww: of w with weights lam
        loss_grad(problem.X, team, problem.rows, problem.loss, train_part, fold.data(), a, w,
                  {train.data(), held.data()}, g, z);
        if (team.is_stopped) return;
        std::vector<double> parts(size_t(n_feature_blocks(p)) * a, 0.0);
        parallel_features(team, p, [&](int64_t b, int64_t k0, int64_t k1) {
            double* s = parts.data() + b * a;
            for (int64_t k = k0; k < k1; ++k)
                for (int j = 0; j < a; ++j) {
                    const double lw = problem.lam_at(k, cols[j]) * w[k * a + j];
                    g[k * a + j] += lw;
                    s[j] += lw * w[k * a + j];
                }
        });
        for (int j = 0; j < a; ++j)
            for (int64_t b = 0; b < n_feature_blocks(p); ++b) ww[j] += parts[b * a + j];
        for (auto* sums : {&train, &held, &ww}) unite(sums->data(), a, K);
        squared_norms(team, pre, p, a, K, g, gg.data());
        for (int j = 0; j < a; ++j) {
            out[j].train = train[j];
            out[j].held_out = held[j];
            out[j].objective = train[j] + 0.5 * ww[j];
            out[j].gradient_norm = std::sqrt(gg[j]);
        }
    };
    // full block columns -> compact block, and back
    auto take = [&](const std::vector<int>& cols, int64_t rows, const double* full, double* part,
                    double sign) {
        const int a = int(cols.size());
        parallel_features(team, rows, [&](int64_t, int64_t k0, int64_t k1) {
            for (int64_t k = k0; k < k1; ++k)
                for (int j = 0; j < a; ++j) part[k * a + j] = sign * full[k * m + cols[j]];
        });
    };
    auto put = [&](const std::vector<int>& cols, const std::vector<char>& is_wanted, int64_t rows,
                   const double* part, double* full) {
        const int a = int(cols.size());
        parallel_features(team, rows, [&](int64_t, int64_t k0, int64_t k1) {
            for (int64_t k = k0; k < k1; ++k)
                for (int j = 0; j < a; ++j)
                    if (is_wanted[j]) full[k * m + cols[j]] = part[k * a + j];
        });
    };

    std::vector<int> active(m);
    for (int j = 0; j < m; ++j) active[j] = j;
    evaluate(active, W, G, Z, result);
    if (team.is_stopped) {
        for (int j = 0; j < m; ++j) result[j].status = interrupted;
        return;
    }
    {
        Block<double> lw = new_block<double>(size_t(p) * m);
        for (int64_t k = 0; k < p; ++k)
            for (int j = 0; j < m; ++j) lw[k * m + j] = problem.lam_at(k, j) * W[k * m + j];
        squared_norms(team, pre, p, m, K, lw.get(), lam_w.data());
    }
    for (int j = 0; j < m;
         ++j) {  // a start near the solution needs few linear systems, well solved
        const double distance =
            result[j].gradient_norm / std::sqrt(lam_w[j]);  // in units of log lam
        forcing[j] = distance < 1.0 ? std::max(max_forcing * distance, min_forcing) : max_forcing;
    }

    for (int iteration = 0;; ++iteration) {
        std::vector<int> still;
        for (int f : active) {
            NewtonColumn& c = result[f];
            c.n_iter = iteration;
            if (!std::isfinite(c.objective) || !std::isfinite(c.gradient_norm))
                c.status = nonfinite;
            else if (c.gradient_norm <= tol[f])
                c.status = converged;
            else if (n_stalls[f] >= 2)
                c.status = stalled;
            else if (iteration >= max_iterations)
                c.status = max_iter;
            else
                still.push_back(f);
        }
        active.swap(still);
        const int a = int(active.size());
        if (a == 0) return;

        std::vector<int> fold(a), lam_of(a), identity(a);
        for (int j = 0; j < a; ++j) {
            fold[j] = problem.fold[active[j]];
            lam_of[j] = problem.lam_of[active[j]];
            identity[j] = j / K;
        }
        Block<double> g = new_block<double>(size_t(p) * a), s = new_block<double>(size_t(p) * a),
                      z1 = new_block<double>(size_t(n) * a);
        // negative gradient as right-hand side; curvature at the current predictions (z1 serves as
        // their compact copy first)
        take(active, p, G, g.get(), -1.0);
        take(active, n, Z, z1.get(), 1.0);
        std::vector<CgColumn> inner(a);
        std::vector<double> cg_tol(a), cg_radius(a);
        bool has_radius = false;
        for (int j = 0; j < a; ++j) {
            const NewtonColumn& c = result[active[j]];
            // never tighter than what the outer tolerance asks for
            cg_tol[j] = std::max(forcing[active[j]] * c.gradient_norm, 0.3 * tol[active[j]]);
            cg_radius[j] = radius[active[j]];
            has_radius |= std::isfinite(cg_radius[j]);
        }
        {
            Block<double> C = new_block<double>(size_t(n) * a);
            row_terms(team, problem.rows, problem.loss, 2, train_part, fold.data(), a, z1.get(),
                      C.get());
            cg(team, p, a, K,
               hessian_product(problem.X, team, C.get(), a / K, K, identity.data(), problem.lam,
                               problem.n_lam, lam_of.data()),
               pre, g.get(), s.get(), true, cg_tol.data(), has_radius ? cg_radius.data() : nullptr,
               max_cg, inner.data());
        }
        if (team.is_stopped) break;

        // no curvature at all (every row saturated): down the gradient, as far as it would take the
        // objective to 0
        for (int j = 0; j < a; j += K) {
            if (inner[j].status != indefinite || inner[j].n_iter > 0) continue;
            const NewtonColumn& c = result[active[j]];
            const double length =
                std::min(radius[active[j]], std::fabs(c.objective) / c.gradient_norm);
            Block<double> unit = new_block<double>(size_t(p) * K * 2);
            double* down = unit.get() + p * K;
            for (int64_t k = 0; k < p; ++k)
                for (int e = 0; e < K; ++e) unit[k * K + e] = G[k * m + active[j] + e];
            precondition(team, pre, p, K, unit.get(), down);
            for (int e = 0; e < K; ++e) inner[j + e].length = length;
            for (int64_t k = 0; k < p; ++k)
                for (int e = 0; e < K; ++e)
                    s[k * a + j + e] = -length / c.gradient_norm * down[k * K + e];
        }
        // the full step: w1 = w + s (kept in s), its gradient in g, its predictions in z1
        std::vector<double> slope(a, 0.0), ls(a, 0.0), lws(a, 0.0);  // g's, s'Ls, w'Ls
        std::vector<double> parts(size_t(n_feature_blocks(p)) * 3 * a, 0.0);
        parallel_features(team, p, [&](int64_t b, int64_t k0, int64_t k1) {
            double* part = parts.data() + b * 3 * a;
            for (int64_t k = k0; k < k1; ++k)
                for (int j = 0; j < a; ++j) {
                    const double v = s[k * a + j], w = W[k * m + active[j]],
                                 l = problem.lam_at(k, active[j]);
                    part[j] += G[k * m + active[j]] * v;
                    part[a + j] += l * v * v;
                    part[2 * a + j] += l * v * w;
                    s[k * a + j] = w + v;
                }
        });
        for (int64_t b = 0; b < n_feature_blocks(p); ++b)
            for (int j = 0; j < a; ++j) {
                const double* part = parts.data() + b * 3 * a + j;
                slope[j] += part[0];
                ls[j] += part[a];
                lws[j] += part[2 * a];
            }
        for (auto* sums : {&slope, &ls, &lws}) unite(sums->data(), a, K);
        std::vector<NewtonColumn> trial(a);
        evaluate(active, s.get(), g.get(), z1.get(), trial.data());
        if (team.is_stopped) break;
        std::vector<int> shortened;
        std::vector<char> is_taken(a, 0);
        for (int j = 0; j < a; ++j) {
            const int f = active[j];
            NewtonColumn& c = result[f];
            c.n_cg += inner[j].n_iter;
            // the part of the gradient that the linear model did not foresee (Eisenstat & Walker
            // 1996, choice 1)
            const double unforeseen =
                std::fabs(trial[j].gradient_norm - inner[j].residual) / c.gradient_norm;
            forcing[f] = unforeseen < max_forcing ? std::max(unforeseen, min_forcing)
                                                  : max_forcing;  // NaN: max
            const double rounding = 10.0 * eps * std::fabs(c.objective);
            // near the end the objective is rounding (half deviances are small differences of large
            // terms): there the gradient decides
            const bool is_flat = trial[j].gradient_norm <= 0.5 * c.gradient_norm &&
                                 trial[j].objective <= c.objective + 1e-8 * std::fabs(c.objective);
            if (trial[j].objective <= c.objective + 1e-4 * slope[j] + rounding || is_flat) {
                const bool is_floor = c.objective - trial[j].objective <= rounding &&
                                      trial[j].gradient_norm > 0.5 * c.gradient_norm;
                n_stalls[f] = is_floor ? n_stalls[f] + 1 : 0;
                if (is_floor && trial[j].gradient_norm >= c.gradient_norm)
                    continue;  // nothing gained: keep the better point
                const int n_cg = c.n_cg;
                c = trial[j];
                c.n_cg = n_cg;
                if (std::isfinite(radius[f]))
                    radius[f] = std::max(radius[f], 4.0 * inner[j].length);
                is_taken[j] = 1;
            } else if (!std::isfinite(trial[j].objective) || !std::isfinite(inner[j].length)) {
                // hardly any curvature: a ball around w keeps it finite
                const double length = std::min(radius[f], inner[j].length);
                radius[f] =
                    std::isfinite(length) ? 0.1 * length : std::fabs(c.objective) / c.gradient_norm;
            } else {               // shorten on the cached predictions: z + t (z1 - z)
                if (j % K != 0) {  // as the first of its unit
                    const int lead = active[j - j % K];
                    if (n_stalls[lead] == 2) {
                        n_stalls[f] = 2;
                        continue;
                    }
                    const double t = radius[lead] / inner[j].length;
                    for (int64_t k = 0; k < p; ++k)
                        W[k * m + f] += t * (s[k * a + j] - W[k * m + f]);
                    radius[f] = radius[lead];
                    shortened.push_back(f);
                    continue;
                }
                double t = 1.0, value = trial[j].objective;
                std::vector<double> z(size_t(n) * K), loss_of(K);
                for (int k = 0; k < 40; ++k) {
                    const double quadratic =
                        -0.5 * slope[j] * t / ((value - c.objective) / t - slope[j]);
                    t = std::isfinite(quadratic) ? std::min(0.5 * t, std::max(0.1 * t, quadratic))
                                                 : 0.1 * t;
                    for (int64_t i = 0; i < n; ++i)
                        for (int e = 0; e < K; ++e)
                            z[i * K + e] =
                                Z[i * m + f + e] + t * (z1[i * a + j + e] - Z[i * m + f + e]);
                    loss_sum(team, problem.rows, problem.loss, train_part, &fold[j], K, z.data(),
                             loss_of.data());
                    value = loss_of[0] + (c.objective - c.train) + t * lws[j] + 0.5 * t * t * ls[j];
                    if (value <= c.objective + 1e-4 * t * slope[j]) break;
                }
                if (!(value <= c.objective + rounding)) {
                    n_stalls[f] = 2;
                    continue;
                }
                for (int64_t k = 0; k < p; ++k) W[k * m + f] += t * (s[k * a + j] - W[k * m + f]);
                radius[f] = t * inner[j].length;
                shortened.push_back(f);
            }
        }
        put(active, is_taken, p, s.get(), W);
        put(active, is_taken, p, g.get(), G);
        put(active, is_taken, n, z1.get(), Z);
        if (!shortened.empty()) {
            const int b = int(shortened.size());
            Block<double> w = new_block<double>(size_t(p) * b);
            take(shortened, p, W, w.get(), 1.0);
            std::vector<NewtonColumn> now(b);
            evaluate(shortened, w.get(), g.get(), z1.get(), now.data());
            if (team.is_stopped) break;
            for (int j = 0; j < b; ++j) {
                const int f = shortened[j];
                now[j].n_cg = result[f].n_cg;
                result[f] = now[j];
            }
            put(shortened, std::vector<char>(b, 1), p, g.get(), G);
            put(shortened, std::vector<char>(b, 1), n, z1.get(), Z);
        }
    }
    for (int f : active) result[f].status = interrupted;
}

}  // namespace fh
