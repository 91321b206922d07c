// The passes over X, for m columns at once: gather z = x_i V, apply a row function, scatter or
// reduce. No solver, no penalty.
//
// A coefficient block V has n_coef = n_cols + has_intercept rows (the intercept last) and m
// contiguous columns. One pass out = X' f(X V) runs in one of two forms:
//   fused       each chunk of rows keeps its own copy [V_k | G_k] of the block, so that the cache
//   line fetched for the gather serves
//               the scatter too; the G parts are added in chunk order. One read of X.
//   two-pass    gather over the rows, then gather over the columns through a transposed copy. Two
//   reads of X, no private copies; the
//               bits do not depend on the number of threads.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include "rows.hpp"
#include "width.hpp"

namespace fh {

// The passes of every calling thread, so that a search counts its own beside others.
class PassCount {
public:
    void add() {
        std::lock_guard<std::mutex> guard(fork_guard());
        ++n_[std::this_thread::get_id()];
    }
    int64_t of_this_thread() {
        std::lock_guard<std::mutex> guard(fork_guard());
        return n_[std::this_thread::get_id()];
    }

private:
    std::unordered_map<std::thread::id, int64_t> n_;
};

// The matrix with what its passes need between calls. One call at a time: passes lock.
struct Matrix {
    View rows;
    View cols;  // X transposed, or empty
    bool has_intercept = false;
    double intercept = 1.0;         // of the column that is not stored
    bool is_deterministic = false;  // the same bits for every number of threads: two-pass form only
    PassCount n_passes;  // one gather-and-scatter over all rows is one pass in either form

    int64_t n_rows() const { return rows.n_rows; }
    int64_t n_coef() const { return rows.n_cols + has_intercept; }
    int64_t block_rows() const {
        return std::min<int64_t>(64, rows.n_rows / 128 + 1);
    }  // of X only, never of the threads
    int64_t n_blocks() const { return (rows.n_rows + block_rows() - 1) / block_rows(); }
    template <class U>
    U* scratch(size_t n) {
        n = (n * sizeof(U) + sizeof(double) - 1) / sizeof(double);
        if (n > capacity_) {
            scratch_.reset();
            scratch_ = new_block<double>(n);
            capacity_ = n;
        }
        return reinterpret_cast<U*>(scratch_.get());
    }

    // Held for a pass. A child of a fork may have got it locked, by a thread that it has not, and
    // the scratch half made: it takes new ones, and leaves the old where they are.
    std::mutex& mutex() {
        std::lock_guard<std::mutex> guard(fork_guard());
        if (n_forks_ != n_forks()) {
            mutex_.release();
            mutex_ = std::make_unique<std::mutex>();
            scratch_.release();
            capacity_ = 0;
            n_forks_ = n_forks();
        }
        return *mutex_;
    }

private:
    std::unique_ptr<std::mutex> mutex_ = std::make_unique<std::mutex>();
    int n_forks_ = n_forks();
    Block<double> scratch_;
    size_t capacity_ = 0;
};

// block, first row, end row, z = x V of these rows (n, m_in), r (n, m_out) to fill
template <class U>
using RowFunction = std::function<void(int64_t, int64_t, int64_t, const U*, U*)>;
using Epilogue = std::function<void(
    int64_t, int64_t, int64_t)>;  // block of features, first, end: after out is complete there

constexpr int64_t feature_block = 1024;
inline int64_t n_feature_blocks(int64_t p) { return (p + feature_block - 1) / feature_block; }

// f over blocks of features, the sums of what it returns added in block order whatever the threads
template <class F>
void parallel_features(Team& team, int64_t p, F&& f) {
    const int64_t n = n_feature_blocks(p),
                  n_chunks = p * 8 < 65536 ? 1 : std::min<int64_t>(n, 4 * team.n_threads);
    parallel_chunks(team, n_chunks, [&](int64_t c) {
        for (int64_t b = n * c / n_chunks; b < n * (c + 1) / n_chunks; ++b)
            f(b, b * feature_block, std::min(p, (b + 1) * feature_block));
    });
}

// Runs f over all blocks of rows of chunk c, asking now and then whether to stop.
template <class F>
void for_blocks(const Matrix& X, Team& team, int64_t c, int64_t n_chunks, F&& f) {
    const int64_t B = X.block_rows(), n = X.n_rows();
    auto work = [&](int64_t i) { return X.rows.offset_of(i) + 8 * i; };
    const int64_t begin = balanced_begin(c, n_chunks, n, B, work),
                  end = balanced_begin(c + 1, n_chunks, n, B, work);
    int64_t next_poll = X.rows.offset_of(begin) + (int64_t(1) << 24);
    for (int64_t i0 = begin; i0 < end; i0 += B) {
        const int64_t i1 = std::min(i0 + B, end);
        f(i0 / B, i0, i1);
        if (X.rows.offset_of(i1) >= next_poll) {
            if (is_caller()) team.poll();
            if (team.is_stopped.load(std::memory_order_relaxed)) return;
            next_poll = X.rows.offset_of(i1) + (int64_t(1) << 24);
        }
    }
}

// The private copy of [V | G] that still stays near a core. Measured (2 cores, 1 MiB L2, 32 MiB
// L3): 20,000 features, 8 columns, 2.6 MB: fused 13.6 ms, two-pass 16.0; 130,107 features, 3
// columns, 6.2 MB: fused 11.1, two-pass 5.9; in between they are level.
constexpr int64_t fused_limit_bytes = 2000000;

inline bool is_fused_form(const Matrix& X, int n_bytes) {
    return X.n_coef() * n_bytes <= fused_limit_bytes;
}
inline bool is_fused(const Matrix& X, int n_bytes) {
    return !X.cols || (!X.is_deterministic && is_fused_form(X, n_bytes));
}

// One pass out = X' f(X V): what it reads and how its work is cut. V (n_coef, m_in) may be null
// (m_in = 0: no gather), out (n_coef, m_out) too (m_out = 0: no scatter).
template <class U>
struct Pass {
    Matrix& X;
    const U* V;
    int m_in, m_out;
    U* out;
    const RowFunction<U>& f;
    bool is_squared;
    int64_t n_threads, n_chunks;

    int64_t p() const { return X.rows.n_cols; }  // without the intercept
    U one() const { return U(is_squared ? X.intercept * X.intercept : X.intercept); }
    void gather(int64_t i0, int64_t i1, const U* W, int64_t ldw, U* Z) const {
        if (m_in == 0) return;
        X.rows.gather(m_in, false, i0, i1, W, ldw, Z, m_in);
        if (X.has_intercept)
            for (int64_t i = 0; i < i1 - i0; ++i)
                for (int j = 0; j < m_in; ++j) Z[i * m_in + j] += U(X.intercept) * W[p() * ldw + j];
    }
};

template <class U>
void gather_only(const Pass<U>& pass, Team& team) {
    parallel_chunks(team, pass.n_chunks, [&](int64_t c) {
        std::vector<U> Z(size_t(pass.X.block_rows()) * pass.m_in);
        for_blocks(pass.X, team, c, pass.n_chunks, [&](int64_t b, int64_t i0, int64_t i1) {
            pass.gather(i0, i1, pass.V, pass.m_in, Z.data());
            pass.f(b, i0, i1, Z.data(), nullptr);
        });
    });
}

// Every chunk of rows on its own copy of [V | G], the G added in chunk order
template <class U>
void in_fused_form(const Pass<U>& pass, Team& team, const Epilogue& epilogue) {
    Matrix& X = pass.X;
    const int64_t p = pass.p(), q = X.n_coef(), B = X.block_rows(), n_chunks = pass.n_chunks;
    const int m_in = pass.m_in, m_out = pass.m_out;
    const int64_t ld = m_in + m_out;
    const U one = pass.one(), *V = pass.V;
    U *out = pass.out, *P = X.scratch<U>(size_t(n_chunks) * q * ld);
    parallel_chunks(team, n_chunks, [&](int64_t c) {
        U* own = P + c * q * ld;
        for (int64_t k = 0; k < q; ++k) {
            for (int j = 0; j < m_in; ++j) own[k * ld + j] = V[k * m_in + j];
            for (int j = 0; j < m_out; ++j) own[k * ld + m_in + j] = U(0);
        }
        std::vector<U> Z(size_t(B) * std::max(1, m_in)), R(size_t(B) * m_out);
        for_blocks(X, team, c, n_chunks, [&](int64_t b, int64_t i0, int64_t i1) {
            pass.gather(i0, i1, own, ld, Z.data());
            pass.f(b, i0, i1, Z.data(), R.data());
            X.rows.scatter(m_out, pass.is_squared, i0, i1, R.data(), m_out, own + m_in, ld);
            if (X.has_intercept)
                for (int64_t i = 0; i < i1 - i0; ++i)
                    for (int j = 0; j < m_out; ++j)
                        own[p * ld + m_in + j] += one * R[i * m_out + j];
        });
    });
    if (team.is_stopped) return;
    parallel_features(team, q, [&](int64_t b, int64_t k0, int64_t k1) {
        for (int64_t k = k0; k < k1; ++k) {
            for (int j = 0; j < m_out; ++j) out[k * m_out + j] = P[k * ld + m_in + j];
            for (int64_t c = 1; c < n_chunks; ++c)
                for (int j = 0; j < m_out; ++j)
                    out[k * m_out + j] += P[(c * q + k) * ld + m_in + j];
        }
        if (epilogue) epilogue(b, k0, k1);
    });
}

// out = X' R over the columns of the transposed copy, without the intercept
template <class U>
void over_columns(const Pass<U>& pass, Team& team, const U* R) {
    Matrix& X = pass.X;
    const int64_t p = pass.p();
    const int m_out = pass.m_out;
    // smaller than a thread's share: the balance is by stored entries, not exact
    const int64_t n_parts = pass.n_threads == 1 ? 1 : 8 * pass.n_threads;
    parallel_chunks(team, n_parts, [&](int64_t c) {
        auto work = [&](int64_t k) { return X.cols.offset_of(k) + k; };
        const int64_t begin = balanced_begin(c, n_parts, p, 1, work),
                      end = balanced_begin(c + 1, n_parts, p, 1, work);
        for (int64_t k0 = begin; k0 < end && !team.is_stopped.load(std::memory_order_relaxed);) {
            int64_t k1 = k0 + 1;  // at most 2^22 entries between two questions whether to stop
            while (k1 < end && X.cols.offset_of(k1 + 1) - X.cols.offset_of(k0) < (int64_t(1) << 22))
                ++k1;
            X.cols.gather(m_out, pass.is_squared, k0, k1, R, m_out, pass.out + k0 * m_out, m_out);
            k0 = k1;
            if (is_caller()) team.poll();
        }
    });
}

template <class U>
void in_two_passes(const Pass<U>& pass, Team& team, const Epilogue& epilogue) {
    Matrix& X = pass.X;
    const int64_t n = X.n_rows();
    const int m_in = pass.m_in, m_out = pass.m_out;
    U* R = X.scratch<U>(size_t(n) * m_out + size_t(X.n_blocks()) * m_out);
    U* sums = R + n * m_out;  // of R over each block of rows, for the intercept
    parallel_chunks(team, pass.n_chunks, [&](int64_t c) {
        std::vector<U> Z(size_t(X.block_rows()) * std::max(1, m_in));
        for_blocks(X, team, c, pass.n_chunks, [&](int64_t b, int64_t i0, int64_t i1) {
            U* r = R + i0 * m_out;
            pass.gather(i0, i1, pass.V, m_in, Z.data());
            pass.f(b, i0, i1, Z.data(), r);
            for (int j = 0; j < m_out; ++j) sums[b * m_out + j] = U(0);
            for (int64_t i = 0; i < i1 - i0; ++i)
                for (int j = 0; j < m_out; ++j) sums[b * m_out + j] += r[i * m_out + j];
        });
    });
    if (!team.is_stopped) over_columns(pass, team, R);
    if (team.is_stopped) return;
    if (X.has_intercept)
        for (int j = 0; j < m_out; ++j) {
            double s = 0.0;
            for (int64_t b = 0; b < X.n_blocks(); ++b) s += sums[b * m_out + j];
            pass.out[pass.p() * m_out + j] = U(double(pass.one()) * s);
        }
    if (epilogue) parallel_features(team, X.n_coef(), epilogue);
}

// out (n_coef, m_out) = X' f(X V), see `Pass`
template <class U>
void apply(Matrix& X, Team& team, const U* V, int m_in, int m_out, U* out, const RowFunction<U>& f,
           bool is_squared = false, const Epilogue& epilogue = nullptr) {
    std::lock_guard<std::mutex> lock(X.mutex());
    const bool fused = m_out == 0 || m_in == 0 ? !(X.cols && m_out > 0)
                                               : is_fused(X, (m_in + m_out) * int(sizeof(U)));
    // small work is not worth waking threads for. Fused: a chunk is a private copy, one a thread;
    // else chunks are only work, several a thread
    const int64_t n_threads =
        X.rows.n_stored() * std::max(m_in, m_out) < 100000 ? 1 : team.n_threads;
    const int64_t n_chunks = std::min<int64_t>(
        n_threads == 1 ? 1 : n_threads * (fused && m_out > 0 ? 1 : 8), X.n_blocks());
    X.n_passes.add();
    const Pass<U> pass{X, V, m_in, m_out, out, f, is_squared, n_threads, n_chunks};
    if (m_out == 0)
        gather_only(pass, team);
    else if (fused)
        in_fused_form(pass, team, epilogue);
    else
        in_two_passes(pass, team, epilogue);
}

// Sums of s * loss over the rows of a part and over those of the other one (m each), gradients
// G (n_coef, m) of the part, predictions Z (n, m). Column j uses the weights of fold[j]. G and Z
// may be null.
struct LossSums {
    double *value, *other;
};
inline void loss_grad(Matrix& X, Team& team, const RowData& rows, const Loss& loss, uint8_t part,
                      const int* fold, int m, const double* W, LossSums out, double* G, double* Z) {
    const double* y = rows.y;
    const uint8_t other_part = part ^ (train_part | held_out_part);
    const int64_t n_blocks = X.n_blocks();
    std::vector<double> parts(size_t(n_blocks) * 2 * m);
    const int K = loss.n_classes;
    const Softmax::Target target(K, loss.a);
    apply<double>(
        X, team, W, m, G ? m : 0, G,
        [&, rows, part, other_part](int64_t b, int64_t i0, int64_t i1, const double* z, double* r) {
            thread_local std::vector<double> yy, value, d1, moved;
            if (rows.offset) {
                moved.assign(z, z + (i1 - i0) * m);
                double* one = moved.data();
                for (int64_t i = i0; i < i1; ++i)
                    for (int j = 0; j < m; j += rows.n_offsets, one += rows.n_offsets)
                        for (int c = 0; c < rows.n_offsets; ++c)
                            one[c] += rows.offset[i * rows.n_offsets + c];
                z = moved.data();
            }
            if (K > 1) {  // the value of a unit is that of its first column
                d1.resize(K);
                double* sums = parts.data() + b * 2 * m;
                for (int64_t i = i0; i < i1; ++i)
                    for (int j = 0; j < m; j += K) {
                        const int64_t k = (i - i0) * m + j;
                        const double own = rows.at(i, fold[j], part),
                                     others = rows.at(i, fold[j], other_part);
                        if (own != 0.0 || others != 0.0) {
                            const double v = Softmax::value(K, y[i], z + k, loss.a, d1.data());
                            if (own != 0.0) sums[j] += own * v;
                            if (others != 0.0) sums[m + j] += others * v;
                        }
                        for (int c = 0; c < K; ++c) {
                            if (r) r[k + c] = own != 0.0 ? own * (d1[c] - target.at(c, y[i])) : 0.0;
                            if (Z) Z[i * m + j + c] = z[k + c];
                        }
                    }
                return;
            }
            const int64_t size = (i1 - i0) * m;
            spread(y, i0, i1, m, yy);
            value.resize(size);
            d1.resize(size);
            loss.value_d1(size, yy.data(), z, value.data(), d1.data());
            double* sums = parts.data() + b * 2 * m;
            for (int64_t i = i0; i < i1; ++i)
                for (int j = 0; j < m; ++j) {
                    const int64_t k = (i - i0) * m + j;
                    const double own = rows.at(i, fold[j], part),
                                 others = rows.at(i, fold[j], other_part);
                    if (own != 0.0) sums[j] += own * value[k];
                    if (others != 0.0) sums[m + j] += others * value[k];
                    if (r) r[k] = own != 0.0 ? own * d1[k] : 0.0;
                    if (Z) Z[i * m + j] = z[k];
                }
        });
    for (int j = 0; j < m; ++j) {
        double a = 0.0, b = 0.0;
        for (int64_t k = 0; k < n_blocks; ++k) {
            a += parts[k * 2 * m + j];
            b += parts[k * 2 * m + m + j];
        }
        out.value[j] = a;
        out.other[j] = b;
    }
}

// out (n_coef, m) = X' (c * (X V)); column j uses curvature column fold[j] of C (n, n_folds). With
// K > 1 classes the columns come in units of K, C is (n, n_folds K) of s p, and c * is the
// curvature of the multinomial loss.
template <class U>
void hvp(Matrix& X, Team& team, const double* C, int n_folds, int K, const int* fold, int m,
         const U* V, U* out, const Epilogue& epilogue = nullptr) {
    apply<U>(
        X, team, V, m, m, out,
        [&](int64_t, int64_t i0, int64_t i1, const U* z, U* r) {
            if (K > 1) {
                for (int64_t i = i0; i < i1; ++i)
                    for (int j = 0; j < m; j += K)
                        Softmax::curve(K, C + (i * n_folds + fold[j]) * K, z + (i - i0) * m + j,
                                       r + (i - i0) * m + j);
                return;
            }
            for (int64_t i = i0; i < i1; ++i)
                for (int j = 0; j < m; ++j)
                    r[(i - i0) * m + j] = U(C[i * n_folds + fold[j]]) * z[(i - i0) * m + j];
        },
        false, epilogue);
}

// out (n_coef, n_folds) = sum_i c_if x_ij^2
inline void hess_diag(Matrix& X, Team& team, const double* C, int n_folds, double* out) {
    apply<double>(
        X, team, nullptr, 0, n_folds, out,
        [&](int64_t, int64_t i0, int64_t i1, const double*, double* r) {
            std::copy(C + i0 * n_folds, C + i1 * n_folds, r);
        },
        true);
}

// Z (n, m) = X V        and        G (n_coef, m) = X' R
template <class U>
void matvec(Matrix& X, Team& team, int m, const U* V, U* Z) {
    apply<U>(X, team, V, m, 0, nullptr, [&](int64_t, int64_t i0, int64_t i1, const U* z, U*) {
        std::copy(z, z + (i1 - i0) * m, Z + i0 * m);
    });
}
template <class U>
void rmatvec(Matrix& X, Team& team, int m, const U* R, U* G) {
    apply<U>(X, team, nullptr, 0, m, G, [&](int64_t, int64_t i0, int64_t i1, const U*, U* r) {
        std::copy(R + i0 * m, R + i1 * m, r);
    });
}

// part (k, k) += c u u', upper triangle, u_a = z[a * stride]
FH_CLONES inline void add_outer_product(int k, int stride, double c, const double* z,
                                        double* part) {
    for (int a = 0; a < k; ++a) {
        const double ca = c * z[a * stride];
        double* row = part + a * k;
        if (stride == 1) {
#pragma omp simd
            for (int e = a; e < k; ++e) row[e] += ca * z[e];
        } else {
            for (int e = a; e < k; ++e) row[e] += ca * z[e * stride];
        }
    }
}

// M (n_folds, k, k) with M_f = sum_i (A_if + B_if x_i q_f) (x_i u_a) (x_i u_b), where column a *
// n_folds + f of U (n_coef, k n_folds) is u_a of fold f. The contraction of the outer Hessian. A
// may be null, and so may B and Q (n_coef, n_folds) together; they are read block by block, and may
// be made so. With K > 1 classes every column is K
// of them, A and B are of the form s p, and the second and third derivatives of the multinomial
// loss take the place of the products: the covariance of u_a and u_b under p, and the third central
// moment of q, u_a, u_b.
inline void contract(Matrix& X, Team& team, const RowTerms* A_of, const RowTerms* B_of,
                     const double* Q, const double* U, int n_folds, int k, int K, double* M) {
    const int F = n_folds, m_u = k * F * K, m = m_u + (Q ? F * K : 0);
    const int64_t q = X.n_coef(), n_blocks = X.n_blocks();
    std::vector<double> V;
    const double* all = U;
    if (Q) {
        V.resize(size_t(q) * m);
        for (int64_t j = 0; j < q; ++j) {
            std::copy(U + j * m_u, U + (j + 1) * m_u, V.data() + j * m);
            std::copy(Q + j * F * K, Q + (j + 1) * F * K, V.data() + j * m + m_u);
        }
        all = V.data();
    }
    const size_t size = size_t(n_folds) * k * k;
    std::vector<double> parts(size_t(n_blocks) * size);
    apply<double>(X, team, all, m, 0, nullptr,
                  [&](int64_t b, int64_t i0, int64_t i1, const double* z, double*) {
                      double* part = parts.data() + b * size;
                      thread_local std::vector<double> a_block, b_block;
                      const double* A = A_of ? A_of->block(i0, i1, a_block) : nullptr;
                      const double* B = B_of ? B_of->block(i0, i1, b_block) : nullptr;
                      if (K > 1) {
                          std::vector<double> centred(size_t(k) * K);
                          for (int64_t i = 0; i < i1 - i0; ++i, z += m)
                              for (int f = 0; f < F; ++f)
                                  for (int third = 0; third < (Q ? 2 : 1); ++third) {
                                      if (!(third ? B : A)) continue;
                                      const double* w = (third ? B : A) + (i * F + f) * K;
                                      double s = 0.0, q_mean = 0.0;
                                      for (int c = 0; c < K; ++c) s += w[c];
                                      if (s == 0.0) continue;
                                      const double* q = third ? z + m_u + f * K : nullptr;
                                      for (int c = 0; c < K && q; ++c) q_mean += w[c] / s * q[c];
                                      for (int a = 0; a < k; ++a) {
                                          const double* u = z + (a * F + f) * K;
                                          double mean = 0.0;
                                          for (int c = 0; c < K; ++c) mean += w[c] / s * u[c];
                                          for (int c = 0; c < K; ++c)
                                              centred[a * K + c] = u[c] - mean;
                                      }
                                      for (int a = 0; a < k; ++a)
                                          for (int e = 0; e < k; ++e) {
                                              double sum = 0.0;
                                              for (int c = 0; c < K; ++c)
                                                  sum += w[c] * centred[a * K + c] *
                                                         centred[e * K + c] *
                                                         (q ? q[c] - q_mean : 1.0);
                                              part[(f * k + a) * k + e] += sum;
                                          }
                                  }
                          return;
                      }
                      for (int64_t i = 0; i < i1 - i0; ++i, z += m)
                          for (int f = 0; f < n_folds; ++f) {
                              double c = A ? A[i * n_folds + f] : 0.0;
                              if (Q) c += B[i * n_folds + f] * z[m_u + f];
                              if (c == 0.0) continue;
                              add_outer_product(k, F, c, z + f, part + f * k * k);
                          }
                  });
    std::fill(M, M + size, 0.0);
    for (int64_t b = 0; b < n_blocks; ++b)
        for (size_t j = 0; j < size; ++j) M[j] += parts[b * size + j];
    for (int f = 0; f < F && K == 1; ++f)
        for (int a = 0; a < k; ++a)
            for (int e = 0; e < a; ++e) M[(f * k + a) * k + e] = M[(f * k + e) * k + a];
}

}  // namespace fh
