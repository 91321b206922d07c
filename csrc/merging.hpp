// Columns that are multiples of each other, and X with one of them in the place of all.
#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "parallel.hpp"
#include "views.hpp"

namespace fh {

// Relative difference of a value from its multiple: the rounding of a few operations on each.
// Columns far from 0 whose spreads are less than this have no digits left.
constexpr double same_value = 16 * std::numeric_limits<double>::epsilon();

inline uint64_t mixed(uint64_t x) {  // the finaliser of splitmix64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

// A number that ratios have in common when they differ by rounding alone: about 30 bits of it.
inline uint64_t cell_of(double ratio) {
    uint64_t bits;
    std::memcpy(&bits, &ratio, sizeof bits);
    return (bits + (1ull << 21)) >> 22;
}

// f(begin, end) over rows in chunks of about as many entries
template <class T, class I, class F>
void parallel_rows(Team& team, const Csr<T, I>& X, F&& f) {
    const int64_t n_chunks = 4 * team.n_threads;
    auto offset = [&](int64_t i) { return X.indptr[i]; };
    parallel_chunks(team, n_chunks, [&](int64_t c) {
        f(balanced_begin(c, n_chunks, X.n_rows, 1, offset),
          balanced_begin(c + 1, n_chunks, X.n_rows, 1, offset));
    });
}

// What tells columns apart: the rows that they have values in, and these over the first of them.
struct ColumnKeys {
    std::vector<uint64_t> key;
    std::vector<double> first;  // the value in the first row, 0 for an empty column
    std::vector<int64_t> count;
};

// Of every `step`-th row. Every chunk owns a range of columns, so no two threads write together.
template <class T, class I>
ColumnKeys column_keys(Team& team, const std::vector<Csr<T, I>>& parts, int64_t step) {
    const int64_t n_cols = parts.front().n_cols, n_chunks = team.n_threads;
    ColumnKeys found{std::vector<uint64_t>(n_cols, 0), std::vector<double>(n_cols, 0.0),
                     std::vector<int64_t>(n_cols, 0)};
    parallel_chunks(team, n_chunks, [&](int64_t c) {
        const int64_t begin = n_cols * c / n_chunks, end = n_cols * (c + 1) / n_chunks;
        int64_t row = 0;
        for (const Csr<T, I>& X : parts)
            for (int64_t i = 0; i < X.n_rows; ++i, ++row) {
                if (row % step != 0) continue;
                for (int64_t k = X.indptr[i]; k < X.indptr[i + 1]; ++k) {
                    const int64_t j = X.indices[k];
                    const double x = X.data[k];
                    if (j < begin || j >= end || x == 0.0) continue;
                    if (found.count[j]++ == 0) found.first[j] = x;
                    const uint64_t ratio = cell_of(x / found.first[j]);
                    found.key[j] = mixed(found.key[j] ^ mixed(uint64_t(row) + (ratio << 20)));
                }
                if ((row & 4095) == 0) {
                    if (is_caller()) team.poll();
                    if (team.is_stopped.load(std::memory_order_relaxed)) return;
                }
            }
    });
    return found;
}

// like[j] = the first column with the same key and number in `alike` (null: all have the same; -1:
// the column stays alone), -1 for an empty column that has one. How many remain.
inline int64_t find_alike(const ColumnKeys& columns, const int64_t* alike, int64_t* like) {
    const int64_t n_cols = int64_t(columns.key.size());
    int64_t n_there = 0, n_kept = 0;
    for (int64_t j = 0; j < n_cols; ++j) n_there += columns.count[j] > 0;
    int64_t size = 16;
    while (size < 2 * n_there) size *= 2;
    std::vector<int64_t> table(size, -1);
    for (int64_t j = 0; j < n_cols; ++j) {
        const int64_t label = alike ? alike[j] : 0;
        like[j] = columns.count[j] == 0 && label >= 0 ? -1 : j;
        if (like[j] < 0) continue;
        if (label < 0 || columns.count[j] == 0) {
            ++n_kept;
            continue;
        }
        uint64_t at = mixed(columns.key[j] + uint64_t(label)) & uint64_t(size - 1);
        auto is_other = [&](int64_t i) {
            return columns.key[i] != columns.key[j] || columns.count[i] != columns.count[j] ||
                   (alike && alike[i] != label);
        };
        while (table[at] >= 0 && is_other(table[at])) at = (at + 1) & uint64_t(size - 1);
        if (table[at] < 0) {
            table[at] = j;
            ++n_kept;
        }
        like[j] = table[at];
    }
    return n_kept;
}

// Puts the largest column of those that are alike in the place of the first, with ratio[j] = x_j
// over it, at most 1 in size: no square overflows.
inline void take_largest(const ColumnKeys& columns, int64_t* like, double* ratio) {
    const int64_t n_cols = int64_t(columns.key.size());
    std::vector<int64_t> largest(n_cols);
    for (int64_t j = 0; j < n_cols; ++j) largest[j] = j;
    for (int64_t j = 0; j < n_cols; ++j) {
        if (like[j] < 0) continue;
        int64_t& best = largest[like[j]];
        if (std::abs(columns.first[j]) > std::abs(columns.first[best])) best = j;
    }
    for (int64_t j = 0; j < n_cols; ++j) {
        ratio[j] = like[j] < 0 ? 0.0 : 1.0;
        if (like[j] < 0) continue;
        like[j] = largest[like[j]];
        if (like[j] != j) ratio[j] = columns.first[j] / columns.first[like[j]];
    }
}

// Lets a column alone whose values are not those of `like` times `ratio`. Counts are equal: so are
// the rows where all of its values are.
template <class T, class I>
void verify_alike(Team& team, const std::vector<Csr<T, I>>& parts, int64_t* like, double* ratio) {
    const int64_t n_cols = parts.front().n_cols, n_chunks = team.n_threads;
    std::vector<int64_t> group(n_cols, -1);  // of columns that others are like
    int64_t n_groups = 0;
    for (int64_t j = 0; j < n_cols; ++j)
        if (like[j] >= 0 && like[j] != j && group[like[j]] < 0) group[like[j]] = n_groups++;
    std::vector<std::atomic<char>> is_bad(n_cols);
    for (auto& bad : is_bad) bad.store(0, std::memory_order_relaxed);
    parallel_chunks(team, n_chunks, [&](int64_t c) {
        std::vector<int64_t> seen(n_groups, -1);
        std::vector<double> value(n_groups);
        int64_t first = 0;
        for (const Csr<T, I>& X : parts) {
            auto offset = [&](int64_t i) { return X.indptr[i]; };
            const int64_t begin = balanced_begin(c, n_chunks, X.n_rows, 1, offset),
                          end = balanced_begin(c + 1, n_chunks, X.n_rows, 1, offset);
            for (int64_t i = begin; i < end; ++i) {
                for (int64_t k = X.indptr[i]; k < X.indptr[i + 1]; ++k) {
                    const int64_t j = X.indices[k], g = group[j];
                    if (g < 0) continue;
                    seen[g] = first + i;
                    value[g] = X.data[k];
                }
                for (int64_t k = X.indptr[i]; k < X.indptr[i + 1]; ++k) {
                    const int64_t j = X.indices[k];
                    const double x = X.data[k];
                    if (like[j] < 0 || like[j] == j || x == 0.0) continue;
                    const int64_t g = group[like[j]];
                    const double left = seen[g] == first + i ? x - ratio[j] * value[g] : x;
                    if (!(std::abs(left) <= same_value * std::abs(x)))
                        is_bad[j].store(1, std::memory_order_relaxed);
                }
                if ((i & 4095) == 0) {
                    if (is_caller()) team.poll();
                    if (team.is_stopped.load(std::memory_order_relaxed)) return;
                }
            }
            first += X.n_rows;
        }
    });
    for (int64_t j = 0; j < n_cols; ++j)
        if (is_bad[j].load(std::memory_order_relaxed)) {
            like[j] = j;
            ratio[j] = 1.0;
        }
}

// One row with column j times weight[j] (null: 1) in the place of column group[j], nowhere where
// that is -1; those of one group are added in double precision. Columns come out sorted; returns
// their number.
template <class T, class I>
int64_t merge_row(const Csr<T, I>& X, int64_t i, const int64_t* group, const double* weight,
                  I* indices, T* data, std::vector<std::pair<int64_t, double>>& row) {
    int64_t n = 0, last = -1;
    bool is_sorted = true;
    for (int64_t k = X.indptr[i]; k < X.indptr[i + 1]; ++k) {
        const int64_t j = X.indices[k], g = group[j];
        if (g < 0) continue;
        is_sorted = is_sorted && last < g;
        last = g;
        indices[n] = I(g);
        data[n++] = weight ? T(weight[j] * double(X.data[k])) : X.data[k];
    }
    if (is_sorted) return n;
    row.clear();
    for (int64_t k = X.indptr[i]; k < X.indptr[i + 1]; ++k) {
        const int64_t j = X.indices[k];
        if (group[j] >= 0)
            row.emplace_back(group[j], (weight ? weight[j] : 1.0) * double(X.data[k]));
    }
    // stable: the sum of a group is that of its columns in order
    std::stable_sort(row.begin(), row.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    n = 0;
    for (size_t k = 0; k < row.size();) {
        const int64_t g = row[k].first;
        double sum = 0.0;
        for (; k < row.size() && row[k].first == g; ++k) sum += row[k].second;
        indices[n] = I(g);
        data[n++] = T(sum);
    }
    return n;
}

// Row pointers of merged rows at most: entries of columns that have a group.
template <class T, class I>
void count_merged(Team& team, const Csr<T, I>& X, const int64_t* group, int64_t* indptr) {
    parallel_rows(team, X, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            int64_t n = 0;
            for (int64_t k = X.indptr[i]; k < X.indptr[i + 1]; ++k) n += group[X.indices[k]] >= 0;
            indptr[i + 1] = n;
        }
    });
    indptr[0] = 0;
    for (int64_t i = 0; i < X.n_rows; ++i) indptr[i + 1] += indptr[i];
}

// The merged rows, from the pointers of `count_merged`, which become theirs; returns how many
// entries there are.
template <class T, class I>
int64_t merge_columns(Team& team, const Csr<T, I>& X, const int64_t* group, const double* weight,
                      int64_t* indptr, I* indices, T* data) {
    std::vector<int64_t> length(X.n_rows);
    parallel_rows(team, X, [&](int64_t begin, int64_t end) {
        std::vector<std::pair<int64_t, double>> row;
        for (int64_t i = begin; i < end; ++i)
            length[i] = merge_row(X, i, group, weight, indices + indptr[i], data + indptr[i], row);
    });
    int64_t n = 0;
    for (int64_t i = 0; i < X.n_rows; ++i) {
        const int64_t begin = indptr[i];
        if (n < begin) {
            std::copy(indices + begin, indices + begin + length[i], indices + n);
            std::copy(data + begin, data + begin + length[i], data + n);
        }
        indptr[i] = n;
        n += length[i];
    }
    return indptr[X.n_rows] = n;
}

}  // namespace fh
