// Rows of LIBSVM text: from a chunk of whole lines to the arrays of a matrix, without memory of
// their own. A row may have the number of its query, `qid:n`, and where that is asked for a weight
// behind its label, `label:weight`, as XGBoost writes it, or any number of labels, `1,3,7`.
#pragma once

#include "svmlight_numbers.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

namespace fh {
namespace svmlight {

// kWide: an index beyond the largest one allowed, or beyond int32.
enum class Fault : uint8_t {
    kNone,
    kLabel,
    kWeight,
    kQid,
    kIndex,
    kZeroIndex,
    kTwice,
    kValue,
    kWide
};

// Whole lines, each closed by '\n', so that no scan needs to test for the end of the text.
struct Chunk {
    const char *begin, *end;
    int64_t n_lines = 0, n_colons = 0;
    bool needs_labels = true;                // else one that says it is unknown becomes NaN
    int64_t n_commas = -1;                   // of rows that may have several labels, else -1
    int64_t first_row = 0, first_entry = 0;  // where its part of the output begins
    int64_t first_label = 0;
    int64_t n_rows = 0, n_entries = 0, n_labels = 0;  // what was found
    int64_t min_index = INT64_MAX, max_index = -1;
    Fault fault = Fault::kNone;
    const char* fault_at = nullptr;  // the token
    int64_t feature = 0;             // of kTwice, as written in the file

    // The shortest row is a label and a line end, the shortest entry " 1:1".
    int64_t row_bound() const noexcept { return std::min(n_lines, (end - begin) / 2); }
    int64_t entry_bound() const noexcept { return std::min(n_colons, (end - begin) / 4); }
    int64_t label_bound() const noexcept { return row_bound() + std::max<int64_t>(n_commas, 0); }
};

template <class V, class I>
struct Output {
    double* labels;
    int64_t* indptr;
    I* indices;
    V* values;
    double* weights;    // of rows, or nullptr
    int64_t* queries;   // numbers of queries, -1 for none, or nullptr
    int64_t* labelptr;  // where the labels of rows begin and end, or nullptr for one each
};

// Counts the line ends and colons of a chunk, and the commas where rows may have several labels.
inline void count(Chunk& chunk) noexcept {
    // Whole vectors, and few enough that no byte counter overflows. A constant number: twice as
    // fast.
    constexpr int kAtOnce = 224;
    const char* p = chunk.begin;
    for (; chunk.end - p >= kAtOnce; p += kAtOnce) {
        uint8_t colons = 0, lines = 0;
        for (int i = 0; i < kAtOnce; ++i) {
            colons += p[i] == ':';
            lines += p[i] == '\n';
        }
        chunk.n_colons += colons;
        chunk.n_lines += lines;
    }
    for (; p < chunk.end; ++p) {
        chunk.n_colons += *p == ':';
        chunk.n_lines += *p == '\n';
    }
    if (chunk.n_commas >= 0) chunk.n_commas = std::count(chunk.begin, chunk.end, ',');
}

// ---- rows ----

// Heap sort of both arrays by index: in place, O(n log n) for every order, allocates nothing.
template <class I, class V>
[[gnu::noinline]] void sort_entries(I* index, V* value, int64_t n) noexcept {
    const auto exchange = [&](int64_t i, int64_t j) {
        std::swap(index[i], index[j]), std::swap(value[i], value[j]);
    };
    const auto sink = [&](int64_t i, int64_t size) {
        for (int64_t child; (child = 2 * i + 1) < size; i = child) {
            if (child + 1 < size && index[child] < index[child + 1]) ++child;
            if (index[i] >= index[child]) return;
            exchange(i, child);
        }
    };
    for (int64_t i = n / 2; i-- > 0;) sink(i, n);
    for (int64_t size = n; --size > 0; sink(0, size)) exchange(0, size);
}

// Explicit zeros leave a row; returns how many entries are left.
template <class I, class V>
[[gnu::noinline]] int64_t drop_zeros(I* index, V* value, int64_t n) noexcept {
    int64_t kept = 0;
    for (int64_t i = 0; i < n; ++i) {
        index[kept] = index[i];
        value[kept] = value[i];
        kept += value[i] != 0;
    }
    return kept;
}

// Keeps what is wrong and where; nullptr, so that readers can return it.
inline const char* fail(Chunk& chunk, Fault fault, const char* at) noexcept {
    chunk.fault = fault;
    chunk.fault_at = at;
    return nullptr;
}

struct Entries {
    int64_t n = 0;  // zeros included
    bool is_sorted = true, has_zero = false;
};

// Reads the entries of the row whose label ends at p; returns where its '\n' is, or nullptr on a
// fault.
template <class V, class I>
inline const char* read_entries(Chunk& chunk, const char* p, int64_t shift, I* indices, V* values,
                                Entries& entries) noexcept {
    Entries found;  // local, so that it stays in registers
    for (int64_t previous = -1;; ++found.n) {
        while (is_blank(*p)) ++p;
        if (!is_digit(*p)) {
            if (*p == '#') p = static_cast<const char*>(std::memchr(p, '\n', chunk.end - p));
            if (*p != '\n') return fail(chunk, Fault::kIndex, p);
            entries = found;
            return p;
        }
        const char* token = p;
        uint64_t number = 0;
        p = read_digits(p, number);
        // 18 digits fit int64
        if (*p != ':' || p - token > 18) return fail(chunk, Fault::kIndex, token);
        if (number > static_cast<uint64_t>(std::numeric_limits<I>::max()))
            return fail(chunk, Fault::kWide, token);
        const int64_t index = static_cast<int64_t>(number);
        found.is_sorted &= index > previous;
        previous = index;
        V value;
        ++p;
        if (is_digit(p[0]) && ends_token(p[1])) {  // counts and indicators: one digit
            value = static_cast<V>(p[0] - '0');
            ++p;
        } else if (!(p = read_real(p, value))) {
            return fail(chunk, Fault::kValue, token);
        }
        found.has_zero |= value == 0;
        indices[found.n] = static_cast<I>(index - shift);
        values[found.n] = value;
    }
}

// Past a label and the weight behind it, 1 where there is none; nullptr on a fault.
[[gnu::noinline]] inline const char* read_weighted(Chunk& chunk, const char* token, double& label,
                                                   double& weight) noexcept {
    Decimal d;
    weight = 1;
    if (!scan(token, d) || !convert(d, label) || !(*d.last == ':' || ends_token(*d.last)))
        return fail(chunk, Fault::kLabel, token);
    if (*d.last != ':') return d.last;
    const char* p = read_real(d.last + 1, weight);
    return p && weight >= 0 ? p : fail(chunk, Fault::kWeight, token);
}

// Past the label and its weight where `weight` is given; nullptr on a fault.
inline const char* read_label(Chunk& chunk, const char* token, double& label,
                              double* weight) noexcept {
    if (weight) return read_weighted(chunk, token, label, *weight);
    if (const char* p = read_real(token, label)) return p;
    const char* p = chunk.needs_labels ? nullptr : skip_unknown(token);
    if (!p) return fail(chunk, Fault::kLabel, token);
    label = std::numeric_limits<double>::quiet_NaN();
    return p;
}

// Whether a token is an entry or the number of a query, so that its row has no label.
inline bool is_without_label(const char* token) noexcept {
    const char* p = token;
    while (!ends_token(*p) && *p != ':') ++p;
    return *p == ':';
}

// Past any number of labels, which are counted in `n` and sorted, each of them once; nullptr on a
// fault. A row without labels begins with what comes behind them.
[[gnu::noinline]] inline const char* read_labels(Chunk& chunk, const char* token, double* labels,
                                                 int64_t& n) noexcept {
    n = 0;
    if (is_without_label(token)) return token;
    if (const char* p = chunk.needs_labels ? nullptr : skip_unknown(token)) {
        labels[n++] = std::numeric_limits<double>::quiet_NaN();
        return p;
    }
    for (const char* p = token;; ++p) {
        Decimal d;
        if (!scan(p, d) || !convert(d, labels[n]) || !(*d.last == ',' || ends_token(*d.last)))
            return fail(chunk, Fault::kLabel, p);
        ++n;
        p = d.last;
        if (*p == ',') continue;
        std::sort(labels, labels + n);
        n = std::unique(labels, labels + n) - labels;
        return p;
    }
}

// Past the number of the query where there is one; nullptr on a fault.
inline const char* read_query(Chunk& chunk, const char* p, int64_t* query) noexcept {
    while (is_blank(*p)) ++p;
    if (query) *query = -1;
    if (*p != 'q' || std::memcmp(p, "qid:", 4) != 0) return p;
    const char* token = p;
    uint64_t number = 0;
    p = read_digits(p + 4, number);
    if (query) *query = static_cast<int64_t>(number & INT64_MAX);
    return p > token + 4 && ends_token(*p) ? p : fail(chunk, Fault::kQid, token);
}

// The first entry with a larger index, in a row that was read and has one.
[[gnu::noinline]] inline const char* find_index_above(int64_t limit, const char* p) noexcept {
    for (;; ++p) {
        if (*p != ':') continue;
        const char* token = p;
        while (is_digit(token[-1])) --token;
        uint64_t number = 0;
        read_digits(token, number);
        if (number > static_cast<uint64_t>(limit)) return token;
    }
}

// Reads all rows of a chunk into its part of the output; stops at the first fault.
template <class V, class I>
void parse(Chunk& chunk, const Output<V, I>& out, int zero_based, int64_t max_index) noexcept {
    const int64_t shift = zero_based != 1;
    int64_t row = chunk.first_row, entry = chunk.first_entry, label = chunk.first_label;
    for (const char* p = chunk.begin; p < chunk.end; ++p) {
        while (is_blank(*p)) ++p;
        if (*p == '#') p = static_cast<const char*>(std::memchr(p, '\n', chunk.end - p));
        if (*p == '\n') continue;
        const char* line = p;
        I* indices = out.indices + entry;
        V* values = out.values + entry;
        Entries found;
        double* weight = out.weights ? out.weights + row : nullptr;
        int64_t* query = out.queries ? out.queries + row : nullptr;
        int64_t n_labels = 1;
        p = out.labelptr ? read_labels(chunk, p, out.labels + label, n_labels)
                         : read_label(chunk, p, out.labels[label], weight);
        if (!p || !(p = read_query(chunk, p, query))) return;
        if (!(p = read_entries(chunk, p, shift, indices, values, found))) return;
        const int64_t n = found.n;
        if (!found.is_sorted) {
            sort_entries(indices, values, n);
            if (I* twice = std::adjacent_find(indices, indices + n); twice != indices + n) {
                chunk.feature = *twice + shift;
                return void(fail(chunk, Fault::kTwice, line));
            }
        }
        if (n > 0) {  // sorted: the first is the smallest
            chunk.min_index = std::min<int64_t>(chunk.min_index, indices[0]);
            chunk.max_index = std::max<int64_t>(chunk.max_index, indices[n - 1]);
            if (chunk.min_index < 0 && zero_based == 0)
                return void(fail(chunk, Fault::kZeroIndex, line));
            if (chunk.max_index > max_index - shift)
                return void(fail(chunk, Fault::kWide, find_index_above(max_index, line)));
        }
        entry += found.has_zero ? drop_zeros(indices, values, n) : n;
        label += n_labels;
        out.indptr[++row] = entry - chunk.first_entry;  // made global by close_gaps
        if (out.labelptr) out.labelptr[row] = label - chunk.first_label;
    }
    chunk.n_rows = row - chunk.first_row;
    chunk.n_entries = entry - chunk.first_entry;
    chunk.n_labels = label - chunk.first_label;
}

}  // namespace svmlight
}  // namespace fh
