// Once at load: columns renumbered by frequency (most frequent first), and the transposed copy.
// Column numbers are checked here, since the passes trust them.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "parallel.hpp"
#include "views.hpp"

namespace fh {

// The smallest |x| that is not 0 and the largest, infinity and 0 where there is none; the largest
// is NaN where x has a NaN or an infinity.
struct Sizes {
    double smallest = std::numeric_limits<double>::infinity(), largest = 0.0;

    void join(const Sizes& other) {
        if (other.smallest < smallest) smallest = other.smallest;
        // in this order a NaN stays
        if (!(other.largest <= largest)) largest = std::isnan(largest) ? largest : other.largest;
    }
};

template <class T>
Sizes sizes(const T* x, int64_t n) {
    constexpr int n_lanes = 64 / sizeof(T);
    T low[n_lanes], high[n_lanes], nan[n_lanes];
    for (int l = 0; l < n_lanes; ++l) {
        low[l] = std::numeric_limits<T>::infinity();
        high[l] = nan[l] = T(0);
    }
    auto take = [&](int l, T value) {
        const T a = std::abs(value), size = a > T(0) ? a : std::numeric_limits<T>::infinity();
        low[l] = size < low[l] ? size : low[l];
        high[l] = a > high[l] ? a : high[l];
        nan[l] += T(0) * value;  // comparisons with a NaN are false and would lose it
    };
    int64_t i = 0;
    for (; i + n_lanes <= n; i += n_lanes) {
#pragma omp simd
        for (int l = 0; l < n_lanes; ++l) take(l, x[i + l]);
    }
    for (; i < n; ++i) take(0, x[i]);
    Sizes found;
    for (int l = 0; l < n_lanes; ++l) {
        Sizes lane;
        lane.smallest = low[l];
        lane.largest = nan[l] == T(0) ? double(high[l]) : std::numeric_limits<double>::quiet_NaN();
        found.join(lane);
    }
    return found;
}

template <class T>
Sizes sizes(Team& team, int64_t n, const T* x) {
    const int64_t n_chunks = n < (1 << 16) ? 1 : 4 * team.n_threads;
    std::vector<Sizes> parts(n_chunks);
    parallel_chunks(team, n_chunks, [&](int64_t c) {
        const int64_t begin = n * c / n_chunks, end = n * (c + 1) / n_chunks;
        parts[c] = sizes(x + begin, end - begin);
    });
    Sizes found;
    for (const auto& part : parts) found.join(part);
    return found;
}

// Stored entries of each column. False when a column number is outside [0, n_cols).
template <class I>
bool count_columns(Team& team, int64_t nnz, const I* indices, int64_t n_cols, int64_t* counts) {
    const int64_t n_chunks = nnz < (1 << 20) ? 1 : team.n_threads;
    std::vector<std::vector<int64_t>> parts(n_chunks);
    std::vector<char> is_bad(n_chunks, 0);
    parallel_chunks(team, n_chunks, [&](int64_t c) {
        parts[c].assign(n_cols, 0);
        for (int64_t k = nnz * c / n_chunks; k < nnz * (c + 1) / n_chunks; ++k) {
            if (indices[k] < 0 || int64_t(indices[k]) >= n_cols) {
                is_bad[c] = 1;
                return;
            }
            ++parts[c][indices[k]];
        }
    });
    for (char bad : is_bad)
        if (bad) return false;
    for (int64_t j = 0; j < n_cols; ++j) {
        counts[j] = 0;
        for (auto& part : parts) counts[j] += part[j];
    }
    return true;
}

// order[new] = old and rank[old] = new, by decreasing power of two of the count; the old order
// inside a class keeps neighbours together.
inline void frequency_order(int64_t n_cols, const int64_t* counts, int64_t* order, int64_t* rank) {
    auto level = [](int64_t count) {
        int b = 0;
        while (count > 0) {
            count >>= 1;
            ++b;
        }
        return 63 - b;
    };
    std::vector<int64_t> begin(65, 0);
    for (int64_t j = 0; j < n_cols; ++j) ++begin[level(counts[j]) + 1];
    std::partial_sum(begin.begin(), begin.end(), begin.begin());
    for (int64_t j = 0; j < n_cols; ++j) {
        rank[j] = begin[level(counts[j])]++;
        order[rank[j]] = j;
    }
}

template <class I, class J>
void relabel(Team& team, int64_t nnz, const I* indices, const int64_t* rank, J* out) {
    const int64_t n_chunks = 4 * team.n_threads;
    parallel_chunks(team, n_chunks, [&](int64_t c) {
        for (int64_t k = nnz * c / n_chunks; k < nnz * (c + 1) / n_chunks; ++k)
            out[k] = J(rank ? rank[indices[k]] : indices[k]);
    });
}

// CSR of the transpose of matrices on top of each other; counts are the entries of each column.
// Every chunk owns a range of columns, so no two threads write together.
template <class T, class I, class J>
void transpose(Team& team, const std::vector<Csr<T, I>>& parts, const int64_t* counts,
               int64_t* t_indptr, J* t_indices, T* t_data) {
    const int64_t n_cols = parts.front().n_cols;
    t_indptr[0] = 0;
    std::partial_sum(counts, counts + n_cols, t_indptr + 1);
    const int64_t n_chunks = team.n_threads;
    parallel_chunks(team, n_chunks, [&](int64_t c) {
        auto offset = [&](int64_t j) { return t_indptr[j]; };
        const int64_t begin = balanced_begin(c, n_chunks, n_cols, 1, offset),
                      end = balanced_begin(c + 1, n_chunks, n_cols, 1, offset);
        std::vector<int64_t> next(t_indptr + begin, t_indptr + end);
        int64_t row = 0;
        for (const Csr<T, I>& X : parts)
            for (int64_t i = 0; i < X.n_rows; ++i, ++row) {
                for (int64_t k = X.indptr[i]; k < X.indptr[i + 1]; ++k) {
                    const int64_t j = X.indices[k];
                    if (j < begin || j >= end) continue;
                    const int64_t at = next[j - begin]++;
                    t_indices[at] = J(row);
                    t_data[at] = X.data[k];
                }
                if ((row & 4095) == 0) {
                    if (is_caller()) team.poll();
                    if (team.is_stopped.load(std::memory_order_relaxed)) return;
                }
            }
    });
}

}  // namespace fh
