// Inner solver: truncated Newton for F columns at once (folds, or strengths of a sweep), or F units
// of the columns of all classes: every scalar below is then that of the unit, the same in each of
// its columns, so that they step and stop together. The directions come from batched CG inside a
// trust region; a step that does not decrease the objective enough is shortened along itself on the
// cached predictions, which reads no X (Nocedal & Yuan 1998, "Combining trust region and line
// search techniques"), and its length becomes the next radius.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "hessian.hpp"

namespace fh {

// What the algorithm asks of the rows, which it never sees: wherever they live, predictions stay
// there. `columns` are numbers of whole units among the m columns, in ascending order.
struct RowSpace {
    virtual ~RowSpace() = default;
    // Sums of the losses (of a unit in its first column) and gradients (p, m) of the data's part
    // at W (p, m), whose predictions become the current ones. One pass.
    virtual void start(const double* W, LossSums sums, double* grad) = 0;
    // The same at w (p, a) for these columns; its predictions are those of the trial. One pass.
    virtual void evaluate(const std::vector<int>& columns, const double* w, LossSums sums,
                          double* grad) = 0;
    // Predictions of the trial, which had these columns, become current where is_taken (a).
    virtual void keep(const std::vector<int>& columns, const std::vector<char>& is_taken) = 0;
    // Products with the data's part of the Hessian at the current predictions of these columns,
    // by their positions among them; until the next evaluation.
    virtual Product curve(const std::vector<int>& columns) = 0;
    // The loss at z + t (z1 - z), between the current predictions and the trial's, of the unit
    // that starts at position j of the trial's columns. Reads no X.
    virtual double sum_along(const std::vector<int>& columns, int j, double t) = 0;
};

struct NewtonProblem {  // column f:  its loss in the rows + 1/2 sum_k lam_k,lam_of[f] w_k^2
    RowSpace& rows;
    int64_t p;  // coefficients
    int m, K;
    Strengths strengths;
};

// Where columns stop: at |gradient| <= tol[f] in the norm of cg.hpp
struct NewtonLimits {
    const double* tol;
    int max_iterations, max_cg;
};

struct NewtonColumn {
    int n_iter = 0, n_cg = 0, status = max_iter;
    double objective = 0.0, train = 0.0, held_out = 0.0, gradient_norm = 0.0;
};

constexpr double max_forcing = 0.25,
                 min_forcing = 1e-3;  // relative residuals of the linear systems

// part (rows, a) = sign * the listed columns of full (rows, m)
inline void take_columns(Team& team, int64_t rows, int m, const std::vector<int>& columns,
                         double sign, const double* full, double* part) {
    const int a = int(columns.size());
    parallel_features(team, rows, [&](int64_t, int64_t k0, int64_t k1) {
        for (int64_t k = k0; k < k1; ++k)
            for (int j = 0; j < a; ++j) part[k * a + j] = sign * full[k * m + columns[j]];
    });
}
// and those that are wanted back
inline void put_columns(Team& team, int64_t rows, int m, const std::vector<int>& columns,
                        const std::vector<char>& is_wanted, const double* part, double* full) {
    const int a = int(columns.size());
    parallel_features(team, rows, [&](int64_t, int64_t k0, int64_t k1) {
        for (int64_t k = k0; k < k1; ++k)
            for (int j = 0; j < a; ++j)
                if (is_wanted[j]) full[k * m + columns[j]] = part[k * a + j];
    });
}

// A step of the a active columns, and what became of it
struct NewtonStep {
    int a;
    std::vector<CgColumn> inner;         // how the linear systems ended
    Block<double> s, g;                  // the step, later w + s; the gradient at w + s
    std::vector<double> slope, ls, lws;  // g's, s'Ls, w'Ls with the strengths L
    std::vector<NewtonColumn> trial;     // w + s
    std::vector<char> is_taken;          // w + s is the new w
    std::vector<int> shortened;          // columns that go a part of the way

    NewtonStep(int64_t p, int a)
        : a(a),
          inner(a),
          s(new_block<double>(size_t(p) * a)),
          g(new_block<double>(size_t(p) * a)),
          slope(a, 0.0),
          ls(a, 0.0),
          lws(a, 0.0),
          trial(a),
          is_taken(a, 0) {}
};

struct Newton {
    Team& team;
    const NewtonProblem& problem;
    const Preconditioner& pre;
    const NewtonLimits& limits;
    double *const W, *const G;  // (p, m): coefficients and their gradients
    NewtonColumn* result;       // (m)
    const int64_t p = problem.p;
    const int m = problem.m, K = problem.K;
    // of all columns; n_stalls: steps in a row that gained rounding only
    std::vector<double> radius = std::vector<double>(m, std::numeric_limits<double>::infinity()),
                        forcing = std::vector<double>(m);
    std::vector<int> n_stalls = std::vector<int>(m, 0), active = std::vector<int>(m);

    void run() {
        start();
        for (int iteration = 0; !team.is_stopped; ++iteration) {
            test(iteration);
            if (active.empty()) return;
            NewtonStep step(p, int(active.size()));
            solve(step);
            if (team.is_stopped) break;
            descend(step);
            move(step);
            evaluate(active, step.s.get(), step.g.get(), step.trial.data());
            if (team.is_stopped) break;
            for (int j = 0; j < step.a; ++j) judge(step, j);
            put_columns(team, p, m, active, step.is_taken, step.s.get(), W);
            put_columns(team, p, m, active, step.is_taken, step.g.get(), G);
            problem.rows.keep(active, step.is_taken);
            if (!step.shortened.empty()) evaluate_shortened(step);
        }
        for (int f : active) result[f].status = interrupted;
    }

    void start() {
        for (int j = 0; j < m; ++j) active[j] = j;
        evaluate(active, W, G, result, true);
        if (team.is_stopped) return;
        Block<double> lw = new_block<double>(size_t(p) * m);
        for (int64_t k = 0; k < p; ++k)
            for (int j = 0; j < m; ++j) lw[k * m + j] = problem.strengths.at(k, j) * W[k * m + j];
        std::vector<double> norms(m, 0.0);
        squared_norms(team, pre, p, m, K, lw.get(), norms.data());
        for (int j = 0; j < m; ++j) {
            // in units of log lam: a start near the solution needs few linear systems, well solved
            const double distance = result[j].gradient_norm / std::sqrt(norms[j]);
            forcing[j] =
                distance < 1.0 ? std::max(max_forcing * distance, min_forcing) : max_forcing;
        }
    }

    // objective and gradient g (p, a) at w (p, a) of the listed columns, predictions in the rows
    void evaluate(const std::vector<int>& columns, const double* w, double* g, NewtonColumn* out,
                  bool is_start = false) {
        const int a = int(columns.size());
        std::vector<double> train(a), held(a), ww(a, 0.0), gg(a);  // ww: of w with weights lam
        const LossSums sums{train.data(), held.data()};
        if (is_start)
            problem.rows.start(w, sums, g);
        else
            problem.rows.evaluate(columns, w, sums, g);
        if (team.is_stopped) return;
        std::vector<double> parts(size_t(n_feature_blocks(p)) * a, 0.0);
        parallel_features(team, p, [&](int64_t b, int64_t k0, int64_t k1) {
            double* s = parts.data() + b * a;
            for (int64_t k = k0; k < k1; ++k)
                for (int j = 0; j < a; ++j) {
                    const double lw = problem.strengths.at(k, columns[j]) * w[k * a + j];
                    g[k * a + j] += lw;
                    s[j] += lw * w[k * a + j];
                }
        });
        for (int j = 0; j < a; ++j)
            for (int64_t b = 0; b < n_feature_blocks(p); ++b) ww[j] += parts[b * a + j];
        for (auto* values : {&train, &held, &ww}) unite(values->data(), a, K);
        squared_norms(team, pre, p, a, K, g, gg.data());
        for (int j = 0; j < a; ++j) {
            out[j].train = train[j];
            out[j].held_out = held[j];
            out[j].objective = train[j] + 0.5 * ww[j];
            out[j].gradient_norm = std::sqrt(gg[j]);
        }
    }

    void test(int iteration) {  // statuses; finished columns are active no more
        std::vector<int> still;
        for (int f : active) {
            NewtonColumn& c = result[f];
            c.n_iter = iteration;
            if (!std::isfinite(c.objective) || !std::isfinite(c.gradient_norm))
                c.status = nonfinite;
            else if (c.gradient_norm <= limits.tol[f])
                c.status = converged;
            else if (n_stalls[f] >= 2)
                c.status = stalled;
            else if (iteration >= limits.max_iterations)
                c.status = max_iter;
            else
                still.push_back(f);
        }
        active.swap(still);
    }

    void solve(NewtonStep& step) {  // H s = -gradient in the ball
        const int a = step.a;
        std::vector<int> lam_of(a);
        std::vector<double> tol(a), ball(a);
        bool has_radius = false;
        for (int j = 0; j < a; ++j) {
            const int f = active[j];
            lam_of[j] = problem.strengths.lam_of[f];
            // never tighter than what the outer tolerance asks for
            tol[j] = std::max(forcing[f] * result[f].gradient_norm, 0.3 * limits.tol[f]);
            ball[j] = radius[f];
            has_radius |= std::isfinite(ball[j]);
        }
        take_columns(team, p, m, active, -1.0, G, step.g.get());
        const Strengths strengths{problem.strengths.lam, problem.strengths.n_lam, lam_of.data()};
        const Product product = plus_strengths(problem.rows.curve(active), strengths);
        const CgSystems systems{p, a, K, step.g.get(), step.s.get(), true};
        const CgLimits cg_limits{tol.data(), has_radius ? ball.data() : nullptr, limits.max_cg};
        cg(team, systems, product, pre, cg_limits, step.inner.data());
    }

    // no curvature at all (every row saturated): down the gradient, as far as it would take the
    // objective to 0
    void descend(NewtonStep& step) {
        for (int j = 0; j < step.a; j += K) {
            if (step.inner[j].status != indefinite || step.inner[j].n_iter > 0) continue;
            const int f = active[j];
            const NewtonColumn& c = result[f];
            const double length = std::min(radius[f], std::fabs(c.objective) / c.gradient_norm);
            Block<double> unit = new_block<double>(size_t(p) * K * 2);
            double* down = unit.get() + p * K;
            for (int64_t k = 0; k < p; ++k)
                for (int e = 0; e < K; ++e) unit[k * K + e] = G[k * m + f + e];
            precondition(team, pre, p, K, unit.get(), down);
            for (int e = 0; e < K; ++e) step.inner[j + e].length = length;
            for (int64_t k = 0; k < p; ++k)
                for (int e = 0; e < K; ++e)
                    step.s[k * step.a + j + e] = -length / c.gradient_norm * down[k * K + e];
        }
    }

    void move(NewtonStep& step) {  // s becomes w + s, and what its line is like
        const int a = step.a;
        double* s = step.s.get();
        std::vector<double> parts(size_t(n_feature_blocks(p)) * 3 * a, 0.0);
        parallel_features(team, p, [&](int64_t b, int64_t k0, int64_t k1) {
            double* part = parts.data() + b * 3 * a;
            for (int64_t k = k0; k < k1; ++k)
                for (int j = 0; j < a; ++j) {
                    const double v = s[k * a + j], w = W[k * m + active[j]],
                                 l = problem.strengths.at(k, active[j]);
                    part[j] += G[k * m + active[j]] * v;
                    part[a + j] += l * v * v;
                    part[2 * a + j] += l * v * w;
                    s[k * a + j] = w + v;
                }
        });
        for (int64_t b = 0; b < n_feature_blocks(p); ++b)
            for (int j = 0; j < a; ++j) {
                const double* part = parts.data() + b * 3 * a + j;
                step.slope[j] += part[0];
                step.ls[j] += part[a];
                step.lws[j] += part[2 * a];
            }
        for (auto* sums : {&step.slope, &step.ls, &step.lws}) unite(sums->data(), a, K);
    }

    static double rounding(const NewtonColumn& c) {  // of an objective
        return 10.0 * std::numeric_limits<double>::epsilon() * std::fabs(c.objective);
    }

    void judge(NewtonStep& step, int j) {  // what becomes of the step of the column at j
        const int f = active[j];
        NewtonColumn& c = result[f];
        const NewtonColumn& trial = step.trial[j];
        c.n_cg += step.inner[j].n_iter;
        // the part of the gradient that the linear model did not foresee (Eisenstat & Walker
        // 1996, choice 1)
        const double unforeseen =
            std::fabs(trial.gradient_norm - step.inner[j].residual) / c.gradient_norm;
        forcing[f] =
            unforeseen < max_forcing ? std::max(unforeseen, min_forcing) : max_forcing;  // NaN: max
        // near the end the objective is rounding (half deviances are small differences of large
        // terms): there the gradient decides
        const bool is_flat = trial.gradient_norm <= 0.5 * c.gradient_norm &&
                             trial.objective <= c.objective + 1e-8 * std::fabs(c.objective);
        if (trial.objective <= c.objective + 1e-4 * step.slope[j] + rounding(c) || is_flat) {
            accept(step, j);
        } else if (!std::isfinite(trial.objective) || !std::isfinite(step.inner[j].length)) {
            // hardly any curvature: a ball around w keeps it finite
            const double length = std::min(radius[f], step.inner[j].length);
            radius[f] =
                std::isfinite(length) ? 0.1 * length : std::fabs(c.objective) / c.gradient_norm;
        } else {
            shorten(step, j);
        }
    }

    void accept(NewtonStep& step, int j) {
        const int f = active[j];
        NewtonColumn& c = result[f];
        const NewtonColumn& trial = step.trial[j];
        const bool is_floor = c.objective - trial.objective <= rounding(c) &&
                              trial.gradient_norm > 0.5 * c.gradient_norm;
        n_stalls[f] = is_floor ? n_stalls[f] + 1 : 0;
        if (is_floor && trial.gradient_norm >= c.gradient_norm)
            return;  // nothing gained: keep the better point
        const int n_cg = c.n_cg;
        c = trial;
        c.n_cg = n_cg;
        if (std::isfinite(radius[f])) radius[f] = std::max(radius[f], 4.0 * step.inner[j].length);
        step.is_taken[j] = 1;
    }

    void shorten(NewtonStep& step, int j) {  // along the step, as the first column of the unit
        const int f = active[j], lead = active[j - j % K];
        const double t = f == lead ? search(step, j) : radius[lead] / step.inner[j].length;
        if ((f == lead && t == 0.0) || n_stalls[lead] == 2) {
            n_stalls[f] = 2;
            return;
        }
        for (int64_t k = 0; k < p; ++k) W[k * m + f] += t * (step.s[k * step.a + j] - W[k * m + f]);
        radius[f] = f == lead ? t * step.inner[j].length : radius[lead];
        step.shortened.push_back(f);
    }

    // The part t of the step, on the cached predictions z + t (z1 - z); 0 where none is lower
    double search(const NewtonStep& step, int j) {
        const NewtonColumn& c = result[active[j]];
        const double slope = step.slope[j];
        double t = 1.0, value = step.trial[j].objective;
        for (int k = 0; k < 40; ++k) {
            const double quadratic = -0.5 * slope * t / ((value - c.objective) / t - slope);
            t = std::isfinite(quadratic) ? std::min(0.5 * t, std::max(0.1 * t, quadratic))
                                         : 0.1 * t;
            value = problem.rows.sum_along(active, j, t) + (c.objective - c.train) +
                    t * step.lws[j] + 0.5 * t * t * step.ls[j];
            if (value <= c.objective + 1e-4 * t * slope) break;
        }
        return value <= c.objective + rounding(c) ? t : 0.0;
    }

    void evaluate_shortened(NewtonStep& step) {
        const std::vector<int>& columns = step.shortened;
        const int b = int(columns.size());
        const std::vector<char> all(b, 1);
        Block<double> w = new_block<double>(size_t(p) * b);
        take_columns(team, p, m, columns, 1.0, W, w.get());
        std::vector<NewtonColumn> now(b);
        evaluate(columns, w.get(), step.g.get(), now.data());
        if (team.is_stopped) return;
        for (int j = 0; j < b; ++j) {
            now[j].n_cg = result[columns[j]].n_cg;
            result[columns[j]] = now[j];
        }
        put_columns(team, p, m, columns, all, step.g.get(), G);
        problem.rows.keep(columns, all);
    }
};

// Minimises every column until its gradient is small. W (p, m) is start and result, G (p, m) its
// gradients; its predictions are the current ones of the rows.
inline void newton_cg(Team& team, const NewtonProblem& problem, const Preconditioner& pre,
                      const NewtonLimits& limits, double* W, double* G, NewtonColumn* result) {
    Newton{team, problem, pre, limits, W, G, result}.run();
}

}  // namespace fh
