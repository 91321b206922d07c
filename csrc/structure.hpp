// Whether compressed rows (or columns) are what they claim: looked at before anything trusts them,
// since a pointer or a number that is out of range reads foreign memory.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "parallel.hpp"
#include "views.hpp"

namespace fh {

enum class Fault { none, start, decrease, end, index };

struct Structure {
    Fault fault = Fault::none;
    int64_t at = -1;           // decrease: row before it; index: place of the first bad one
    bool is_canonical = true;  // numbers increase within every row
};

// Numbers that are not above the one before them, and the largest: a negative one, read without
// sign, is larger than any that is in range.
template <class I>
FH_CLONES void look(const I* indices, int64_t begin, int64_t end, std::make_unsigned_t<I>& most,
                    int64_t& n_descents) {
    using U = std::make_unsigned_t<I>;
    U largest = most, n = 0;  // n fits: a call has few entries
#pragma omp simd reduction(max : largest) reduction(+ : n)
    for (int64_t k = begin; k < end; ++k) {
        const U one = U(indices[k]);
        largest = one > largest ? one : largest;
        n += one <= U(indices[k - 1]);
    }
    most = largest;
    n_descents += int64_t(n);
}

// Entries of the rows r0..r1: the largest number, and whether all descents are where rows begin.
template <class P, class I>
void look_at_rows(const P* indptr, int64_t r0, int64_t r1, const I* indices,
                  std::make_unsigned_t<I>& most, bool& is_canonical) {
    constexpr int64_t step = 1 << 14;  // entries that are still in cache when rows are looked at
    const int64_t first = indptr[r0], last = indptr[r1];
    if (first == last) return;
    most = std::make_unsigned_t<I>(indices[first]);
    int64_t n_descents = 0, n_at_starts = 0, r = r0;
    for (int64_t begin = first; begin < last; begin += step) {
        const int64_t end = std::min(begin + step, last);
        look(indices, std::max(begin, first + 1), end, most, n_descents);
        for (; r < r1 && int64_t(indptr[r]) < end; ++r) {
            const int64_t k = indptr[r];
            const bool starts = k > first && int64_t(indptr[r + 1]) > k;  // an empty row does not
            n_at_starts += starts && std::make_unsigned_t<I>(indices[k]) <=
                                         std::make_unsigned_t<I>(indices[k - 1]);
        }
    }
    is_canonical = n_descents == n_at_starts;
}

// The first row whose pointers decrease, n_rows where there is none. (Neighbours are compared: a
// difference may overflow.)
template <class P>
int64_t first_decrease(Team& team, int64_t n_rows, const P* indptr) {
    const int64_t n_chunks = n_rows < (1 << 16) ? 1 : 4 * team.n_threads;
    std::vector<int64_t> found(n_chunks, n_rows);
    parallel_chunks(team, n_chunks, [&](int64_t c) {
        const int64_t end = n_rows * (c + 1) / n_chunks;
        for (int64_t i = n_rows * c / n_chunks; i < end; ++i)
            if (indptr[i + 1] < indptr[i]) {
                found[c] = i;
                return;
            }
    });
    return *std::min_element(found.begin(), found.end());
}

// Pointers first, then one read of the numbers that they speak of. indptr has n_rows + 1 entries.
template <class P, class I>
Structure look_at(Team& team, int64_t n_rows, const P* indptr, int64_t n_stored, const I* indices,
                  int64_t n_cols) {
    if (indptr[0] != 0) return {Fault::start};
    if (const int64_t i = first_decrease(team, n_rows, indptr); i < n_rows)
        return {Fault::decrease, i};
    const int64_t nnz = indptr[n_rows];
    if (nnz > n_stored) return {Fault::end};

    const int64_t n_chunks = nnz < (1 << 16) ? 1 : 4 * team.n_threads;
    auto offset = [&](int64_t i) { return int64_t(indptr[i]); };
    std::vector<char> is_canonical(n_chunks, 1), is_inside(n_chunks, 1);
    parallel_chunks(team, n_chunks, [&](int64_t c) {
        const int64_t r0 = balanced_begin(c, n_chunks, n_rows, 1, offset),
                      r1 = balanced_begin(c + 1, n_chunks, n_rows, 1, offset);
        std::make_unsigned_t<I> most = 0;
        bool is_sorted = true;
        look_at_rows(indptr, r0, r1, indices, most, is_sorted);
        is_canonical[c] = is_sorted;
        is_inside[c] = indptr[r0] == indptr[r1] || uint64_t(most) < uint64_t(n_cols);
    });
    if (std::find(is_inside.begin(), is_inside.end(), 0) != is_inside.end())
        for (int64_t k = 0; k < nnz; ++k)
            if (indices[k] < 0 || int64_t(indices[k]) >= n_cols) return {Fault::index, k};
    const bool all = std::find(is_canonical.begin(), is_canonical.end(), 0) == is_canonical.end();
    return {Fault::none, -1, all};
}

// A number that differs when any of these words do, as good as surely. It does not depend on the
// threads, and is meant for changes by accident.
constexpr int64_t words_of_chunk = 1 << 16;

FH_CLONES inline uint64_t fingerprint(const uint32_t* words, int64_t n) {
    constexpr int n_lanes = 64;  // four cache lines: each lane waits for its own multiplications
    uint32_t lanes[n_lanes];
    for (int l = 0; l < n_lanes; ++l) lanes[l] = uint32_t(l) + 1;
    auto mix = [](uint32_t h, uint32_t word) {
        h = (h ^ word) * 0x9E3779B1u;  // 2^32 over the golden ratio, as Knuth's multiplicative hash
        return h ^ (h >> 15);          // a change of the sign bit alone would stay there
    };
    int64_t k = 0;
    for (; k + n_lanes <= n; k += n_lanes) {
#pragma omp simd
        for (int l = 0; l < n_lanes; ++l) lanes[l] = mix(lanes[l], words[k + l]);
    }
    for (; k < n; ++k) lanes[0] = mix(lanes[0], words[k]);
    uint64_t h = uint64_t(n);
    for (int l = 0; l < n_lanes; ++l) h = (h ^ lanes[l]) * 0x9E3779B97F4A7C15u + (h >> 29);
    return h;
}

inline uint64_t fingerprint(Team& team, const char* bytes, int64_t n_bytes) {
    const int64_t n = n_bytes / 4, n_chunks = (n + words_of_chunk - 1) / words_of_chunk;
    std::vector<uint64_t> parts(n_chunks);
    const auto* words = reinterpret_cast<const uint32_t*>(bytes);
    parallel_chunks(team, n_chunks, [&](int64_t c) {
        const int64_t begin = c * words_of_chunk;
        parts[c] = fingerprint(words + begin, std::min(words_of_chunk, n - begin));
    });
    uint64_t h = uint64_t(n_bytes);
    for (uint64_t part : parts) h = (h ^ part) * 0x9E3779B97F4A7C15u + (h >> 29);
    return h;
}

}  // namespace fh
