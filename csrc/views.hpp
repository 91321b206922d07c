// Views of a matrix that somebody else owns, and the two operations that read it, for 1 to 8
// columns at once:
//   gather:   Z[i, :] = sum_k x_ik V[k, :]        scatter:  G[k, :] += x_ik R[i, :]
// Row pointers are always int64, values float32 or float64. Blocks V, Z, G, R have scalar U:
// float64 everywhere but in loose linear solves, where float32 puts twice as many columns on a
// cache line.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <new>
#include <vector>

// Several versions of the inner loops, chosen at load time; only where ifunc exists. A function and
// its clones give the same bits in every run on one machine.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__) && \
    !defined(__AVX512F__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FH_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#define FH_HAS_CLONES 1
#else
#define FH_CLONES
#define FH_HAS_CLONES 0
#endif

namespace fh {

template <class T, class I>
struct Csr {
    int64_t n_rows, n_cols;
    const int64_t* indptr;
    const I* indices;
    const T* data;
};

template <class T>
struct Dense {  // row-major
    int64_t n_rows, n_cols;
    const T* data;
};

class View;
struct Stacked {  // parts on top of each other, each of any kind; what it points to is a Stack's
    int64_t n_rows, n_cols, n_parts;
    const View* parts;
    const int64_t* first;     // row of every part
    const int64_t* n_before;  // stored entries before every part

    int64_t part_of(int64_t i) const {
        return std::upper_bound(first, first + n_parts, i) - first - 1;
    }
};

// Entries that a gather looks ahead. With a block of 8 to 64 MB (1e6 features, Zipf) 64 against 16
// takes 0.64, 0.65, 0.72, 0.9 of the time for 1, 3, 5, 8 columns, and no prefetch at all 1.2; with
// one of 1 to 8 MB (20 newsgroups) 0.85 to 0.9; where the block is in L2 it makes no difference.
constexpr int64_t prefetch_distance = 64;
// columns that one call of gather or scatter handles: those of one cache line
template <class U>
constexpr int max_group = 64 / sizeof(U);

// Rows i0..i1 of X V. V has leading dimension ldv, Z ldz. With is_squared the entries of X are
// squared first.
template <int M, bool is_squared, class U, class T, class I>
FH_CLONES void gather(const Csr<T, I>& X, int64_t i0, int64_t i1, const U* V, int64_t ldv, U* Z,
                      int64_t ldz) {
    const int64_t last = X.indptr[X.n_rows];
    constexpr int n_chains =
        M == 1   ? 4
        : M <= 4 ? 2
                 : 1;  // independent sums: one chain would wait for the latency of each addition
    for (int64_t i = i0; i < i1; ++i, Z += ldz) {
        double sums[M] = {};
        const int64_t row_end = X.indptr[i + 1];
        // float32 partial sums of 128 entries at most are added up in float64: a frequent column
        // has as many entries as X has rows
        for (int64_t k = X.indptr[i]; k < row_end;) {
            const int64_t end = sizeof(U) == sizeof(double) ? row_end : std::min(row_end, k + 128);
            U z[n_chains][M] = {};
            for (; k + n_chains <= end; k += n_chains) {
                if (k + prefetch_distance + n_chains <= last)
                    for (int c = 0; c < n_chains; ++c) {
                        const U* ahead = V + int64_t(X.indices[k + prefetch_distance + c]) * ldv;
                        __builtin_prefetch(ahead);
                        if (M > 1)
                            __builtin_prefetch(ahead + M - 1);  // a row may lie on two cache lines
                    }
                for (int c = 0; c < n_chains; ++c) {
                    const U x = is_squared ? U(X.data[k + c]) * U(X.data[k + c]) : U(X.data[k + c]);
                    const U* v = V + int64_t(X.indices[k + c]) * ldv;
#pragma omp simd
                    for (int j = 0; j < M; ++j) z[c][j] += x * v[j];
                }
            }
            for (; k < end; ++k) {
                const U x = is_squared ? U(X.data[k]) * U(X.data[k]) : U(X.data[k]);
                const U* v = V + int64_t(X.indices[k]) * ldv;
                for (int j = 0; j < M; ++j) z[0][j] += x * v[j];
            }
            for (int c = 0; c < n_chains; ++c)
                for (int j = 0; j < M; ++j) sums[j] += z[c][j];
        }
        for (int j = 0; j < M; ++j) Z[j] = U(sums[j]);
    }
}

template <int M, bool is_squared, class U, class T, class I>
FH_CLONES void scatter(const Csr<T, I>& X, int64_t i0, int64_t i1, const U* R, int64_t ldr, U* G,
                       int64_t ldg) {
    for (int64_t i = i0; i < i1; ++i, R += ldr) {
        U r[M];
        bool is_zero = true;
        for (int j = 0; j < M; ++j) {
            r[j] = R[j];
            is_zero &= r[j] == U(0);
        }
        if (is_zero) continue;  // a row held out of every column here
        const int64_t end = X.indptr[i + 1];
        for (int64_t k = X.indptr[i]; k < end; ++k) {
            const U x = is_squared ? U(X.data[k]) * U(X.data[k]) : U(X.data[k]);
            U* g = G + int64_t(X.indices[k]) * ldg;
#pragma omp simd
            for (int j = 0; j < M; ++j) g[j] += x * r[j];
        }
    }
}

template <int M, bool is_squared, class U, class T>
FH_CLONES void gather(const Dense<T>& X, int64_t i0, int64_t i1, const U* V, int64_t ldv, U* Z,
                      int64_t ldz) {
    for (int64_t i = i0; i < i1; ++i, Z += ldz) {
        const T* row = X.data + i * X.n_cols;
        U z[M] = {};
        if (M == 1 && ldv == 1) {
            U s = 0;
#pragma omp simd reduction(+ : s)
            for (int64_t k = 0; k < X.n_cols; ++k) {
                U x = U(row[k]);
                s += (is_squared ? x * x : x) * V[k];
            }
            z[0] = s;
        } else {
            for (int64_t k = 0; k < X.n_cols; ++k) {
                const U x = is_squared ? U(row[k]) * U(row[k]) : U(row[k]);
#pragma omp simd
                for (int j = 0; j < M; ++j) z[j] += x * V[k * ldv + j];
            }
        }
        for (int j = 0; j < M; ++j) Z[j] = z[j];
    }
}

template <int M, bool is_squared, class U, class T>
FH_CLONES void scatter(const Dense<T>& X, int64_t i0, int64_t i1, const U* R, int64_t ldr, U* G,
                       int64_t ldg) {
    for (int64_t i = i0; i < i1; ++i, R += ldr) {
        const T* row = X.data + i * X.n_cols;
        U r[M];
        bool is_zero = true;
        for (int j = 0; j < M; ++j) {
            r[j] = R[j];
            is_zero &= r[j] == U(0);
        }
        if (is_zero) continue;
        if (M == 1 && ldg == 1) {
            const U r0 = r[0];
#pragma omp simd
            for (int64_t k = 0; k < X.n_cols; ++k) {
                U x = U(row[k]);
                G[k] += (is_squared ? x * x : x) * r0;
            }
        } else {
            for (int64_t k = 0; k < X.n_cols; ++k) {
                const U x = is_squared ? U(row[k]) * U(row[k]) : U(row[k]);
#pragma omp simd
                for (int j = 0; j < M; ++j) G[k * ldg + j] += x * r[j];
            }
        }
    }
}

template <int M, bool is_squared, class U>
void gather(const Stacked& X, int64_t i0, int64_t i1, const U* V, int64_t ldv, U* Z, int64_t ldz);
template <int M, bool is_squared, class U>
void scatter(const Stacked& X, int64_t i0, int64_t i1, const U* R, int64_t ldr, U* G, int64_t ldg);

inline int64_t offset(const Stacked& X, int64_t i);
template <class T, class I>
int64_t offset(const Csr<T, I>& X, int64_t i) {
    return X.indptr[i] - X.indptr[0];
}
template <class T>
int64_t offset(const Dense<T>& X, int64_t i) {
    return i * X.n_cols;
}

// One matrix behind function pointers: passes.hpp is compiled once, not once per type. A call
// handles a block of rows.
class View {
public:
    int64_t n_rows = 0, n_cols = 0;

    View() = default;
    template <class X>
    explicit View(const X& x) : n_rows(x.n_rows), n_cols(x.n_cols) {
        static_assert(sizeof(X) <= sizeof(store_) && alignof(X) <= 8,
                      "a view is a few sizes and pointers");
        new (store_) X(x);
        offset_ = [](const void* s, int64_t i) { return offset(*static_cast<const X*>(s), i); };
        fill<X, double, 1>();
        fill<X, float, 1>();
    }
    explicit operator bool() const { return offset_ != nullptr; }
    int64_t offset_of(int64_t i) const {
        return offset_(store_, i);
    }  // stored entries before row i
    int64_t n_stored() const { return offset_of(n_rows); }

    // any number of columns, in groups of a cache line: the block of rows stays in cache between
    // groups
    template <class U>
    void gather(int m, bool is_squared, int64_t i0, int64_t i1, const U* V, int64_t ldv, U* Z,
                int64_t ldz) const {
        for (int c = 0; c < m; c += max_group<U>)
            table<U>().gather[is_squared][std::min(m - c, max_group<U>)](store_, i0, i1, V + c, ldv,
                                                                         Z + c, ldz);
    }
    template <class U>
    void scatter(int m, bool is_squared, int64_t i0, int64_t i1, const U* R, int64_t ldr, U* G,
                 int64_t ldg) const {
        for (int c = 0; c < m; c += max_group<U>)
            table<U>().scatter[is_squared][std::min(m - c, max_group<U>)](store_, i0, i1, R + c,
                                                                          ldr, G + c, ldg);
    }

private:
    template <class U>
    struct Table {
        using Kernel = void (*)(const void*, int64_t, int64_t, const U*, int64_t, U*, int64_t);
        Kernel gather[2][max_group<U> + 1] = {}, scatter[2][max_group<U> + 1] = {};
    };
    alignas(8) char store_[6 * sizeof(void*)] = {};
    int64_t (*offset_)(const void*, int64_t) = nullptr;
    Table<double> double_;
    Table<float> float_;

    template <class U>
    const Table<U>& table() const {
        if constexpr (sizeof(U) == sizeof(double))
            return double_;
        else
            return float_;
    }
    template <class X, class U, int M>
    void fill() {
        Table<U>& t = const_cast<Table<U>&>(table<U>());
        t.gather[0][M] = call_gather<X, U, M, false>;
        t.scatter[0][M] = call_scatter<X, U, M, false>;
        if constexpr (sizeof(U) == sizeof(double)) {  // squares are for the Hessian's diagonal only
            t.gather[1][M] = call_gather<X, U, M, true>;
            t.scatter[1][M] = call_scatter<X, U, M, true>;
        }
        if constexpr (M < max_group<U>) fill<X, U, M + 1>();
    }
    template <class X, class U, int M, bool is_squared>
    static void call_gather(const void* s, int64_t i0, int64_t i1, const U* V, int64_t ldv, U* Z,
                            int64_t ldz) {
        fh::gather<M, is_squared>(*static_cast<const X*>(s), i0, i1, V, ldv, Z, ldz);
    }
    template <class X, class U, int M, bool is_squared>
    static void call_scatter(const void* s, int64_t i0, int64_t i1, const U* R, int64_t ldr, U* G,
                             int64_t ldg) {
        fh::scatter<M, is_squared>(*static_cast<const X*>(s), i0, i1, R, ldr, G, ldg);
    }
};

inline int64_t offset(const Stacked& X, int64_t i) {
    const int64_t k = X.part_of(i);
    return X.n_before[k] + X.parts[k].offset_of(i - X.first[k]);
}

// f(part, its first and end row, number of the first among the rows i0..i1) for the parts of these
// rows
template <class F>
void for_parts(const Stacked& X, int64_t i0, int64_t i1, F&& f) {
    for (int64_t k = X.part_of(i0), i = i0; i < i1; ++k) {
        const View& part = X.parts[k];
        const int64_t end = std::min(i1, X.first[k] + part.n_rows);
        f(part, i - X.first[k], end - X.first[k], i - i0);
        i = end;
    }
}

template <int M, bool is_squared, class U>
void gather(const Stacked& X, int64_t i0, int64_t i1, const U* V, int64_t ldv, U* Z, int64_t ldz) {
    for_parts(X, i0, i1, [&](const View& part, int64_t begin, int64_t end, int64_t at) {
        part.gather(M, is_squared, begin, end, V, ldv, Z + at * ldz, ldz);
    });
}

template <int M, bool is_squared, class U>
void scatter(const Stacked& X, int64_t i0, int64_t i1, const U* R, int64_t ldr, U* G, int64_t ldg) {
    for_parts(X, i0, i1, [&](const View& part, int64_t begin, int64_t end, int64_t at) {
        part.scatter(M, is_squared, begin, end, R + at * ldr, ldr, G, ldg);
    });
}

// The parts of a Stacked view and where they begin.
struct Stack {
    std::vector<View> parts;
    std::vector<int64_t> first, n_before;

    View view() {
        int64_t n_rows = 0, n_stored = 0;
        for (const View& part : parts) {
            first.push_back(n_rows);
            n_before.push_back(n_stored);
            n_rows += part.n_rows;
            n_stored += part.n_stored();
        }
        return View(Stacked{n_rows, parts.front().n_cols, int64_t(parts.size()), parts.data(),
                            first.data(), n_before.data()});
    }
};

}  // namespace fh
