// Reads LIBSVM (svmlight) text: `label [qid:n] index:value index:value ... [# comment]`, one row a
// line. The text comes in blocks of whole lines, so that it is never in memory as a whole.
//
// Two passes over a block. The first counts colons and line ends at memory speed: upper bounds of
// entries and rows, so the output grows once a block and every thread writes to its final place.
// The second parses. Nothing is copied, unless comments, blank lines or explicit zeros made a bound
// too high; then the parts are moved together.
#pragma once

#include "parallel.hpp"
#include "svmlight_numbers.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace fh {

struct Free {
    void operator()(void* p) const noexcept { std::free(p); }
};

// An array of malloc's memory, so that it can change its size in place and be handed to another
// owner.
template <class T>
struct Buffer {
    std::unique_ptr<T[], Free> data;
    int64_t capacity = 0;

    void resize(int64_t n) {
        T* p = static_cast<T*>(std::realloc(data.get(), std::max<int64_t>(n, 1) * sizeof(T)));
        if (!p) throw std::bad_alloc();
        (void)data.release();
        data.reset(p);
        capacity = n;
    }
    // A half more than it has, so that few blocks have to move what earlier ones gave.
    void reserve(int64_t n) {
        if (n > capacity) resize(std::max(n, capacity + capacity / 2));
    }
};

// The matrix in CSR. One of the two index arrays is empty: int32 when every index in the text is
// below 2^31.
template <class V>
struct SvmlightRows {
    int64_t n_rows = 0, n_entries = 0;
    int64_t n_lines = 0;                            // those that were read, with or without a row
    int64_t min_index = INT64_MAX, max_index = -1;  // explicit zeros included
    bool is_wide = false;
    Buffer<double> labels;
    Buffer<int64_t> indptr;
    Buffer<int32_t> indices32;
    Buffer<int64_t> indices64;
    Buffer<V> values;

    int64_t bytes_of(int64_t rows, int64_t entries) const noexcept {
        return rows * 16 + entries * (int64_t{sizeof(V)} + (is_wide ? 8 : 4));
    }
};

// With zero_based 1 features count from 0, with 0 from 1, with -1 from 0 if an index 0 is seen.
struct SvmlightSettings {
    int zero_based;
    int64_t max_index, max_bytes;  // more is an error
    bool needs_labels = true;      // else a label may be nan, inf or ?
};

struct SvmlightError {
    int64_t line;      // counted from 1
    std::string what;  // empty: the rows take more than max_bytes
};

namespace svmlight {

// kWide: an index beyond the largest one allowed, or beyond int32.
enum class Fault : uint8_t { kNone, kLabel, kQid, kIndex, kZeroIndex, kTwice, kValue, kWide };

constexpr int64_t kChunk = 1 << 16;  // a thread parses that much while another one starts
// What is reserved for an ordinary block may be that much too high.
constexpr int64_t kSlack = int64_t{1} << 26;

// Whole lines, each closed by '\n', so that no scan needs to test for the end of the text.
struct Chunk {
    const char *begin, *end;
    int64_t n_lines = 0, n_colons = 0;
    bool needs_labels = true;                // else one that says it is unknown becomes NaN
    int64_t first_row = 0, first_entry = 0;  // where its part of the output begins
    int64_t n_rows = 0, n_entries = 0;       // what was found
    int64_t min_index = INT64_MAX, max_index = -1;
    Fault fault = Fault::kNone;
    const char* fault_at = nullptr;  // the token
    int64_t feature = 0;             // of kTwice, as written in the file

    // The shortest row is a label and a line end, the shortest entry " 1:1".
    int64_t row_bound() const noexcept { return std::min(n_lines, (end - begin) / 2); }
    int64_t entry_bound() const noexcept { return std::min(n_colons, (end - begin) / 4); }
};

template <class V, class I>
struct Output {
    double* labels;
    int64_t* indptr;
    I* indices;
    V* values;
};

// Counts the line ends and colons of a chunk.
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

// Past the label and the query id; nullptr on a fault.
inline const char* read_head(Chunk& chunk, const char* p, double& label) noexcept {
    const char* token = p;
    if (!(p = read_real(p, label))) {
        if (chunk.needs_labels || !(p = skip_unknown(token)))
            return fail(chunk, Fault::kLabel, token);
        label = std::numeric_limits<double>::quiet_NaN();
    }
    while (is_blank(*p)) ++p;
    if (*p != 'q' || std::memcmp(p, "qid:", 4) != 0) return p;
    token = p;
    for (p += 4; is_digit(*p);) ++p;
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
    int64_t row = chunk.first_row, entry = chunk.first_entry;
    for (const char* p = chunk.begin; p < chunk.end; ++p) {
        while (is_blank(*p)) ++p;
        if (*p == '#') p = static_cast<const char*>(std::memchr(p, '\n', chunk.end - p));
        if (*p == '\n') continue;
        const char* line = p;
        I* indices = out.indices + entry;
        V* values = out.values + entry;
        Entries found;
        if (!(p = read_head(chunk, p, out.labels[row]))) return;
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
        out.indptr[++row] = entry - chunk.first_entry;  // made global by close_gaps
    }
    chunk.n_rows = row - chunk.first_row;
    chunk.n_entries = entry - chunk.first_entry;
}

// ---- errors ----

// What follows a token that is no number in the message: what it is instead.
inline std::string why_not_number(const char* p, std::string text) {
    for (char& c : text) c = static_cast<char>(c | 32);  // lower case
    text.erase(0, text.find_first_not_of("+-"));
    Decimal d;
    double value;
    if (text == "nan" || text == "inf" || text == "infinity") return " is not finite";
    if (!scan(p, d) || !ends_token(*d.last)) return " is not a number";
    return convert(d, value) ? " is too large for float32" : " is not finite";
}

// Why a token was refused is worked out only here, so that the kernels stay lean.
inline std::string describe(const Chunk& chunk, int64_t max_index) {
    const char* at = chunk.fault_at;
    const std::string token(at, std::find_if(at, chunk.end, ends_token));
    std::string shown;
    bool is_text = true;
    for (unsigned char c : token.substr(0, 40)) {
        char printable[5] = {static_cast<char>(c)};
        if (c < ' ' || c > '~') std::snprintf(printable, 5, "\\x%02x", c), is_text = false;
        shown += printable;
    }
    const std::string quoted = "'" + shown + (token.size() > 40 ? "..." : "") + "'";
    const size_t colon = token.find(':');
    std::string what;
    switch (chunk.fault) {
        case Fault::kTwice:
            return "feature " + std::to_string(chunk.feature) + " appears twice in one row";
        case Fault::kZeroIndex:
            return "feature index 0, but zero_based=False counts features from 1; leave it out "
                   "if this file counts from 0";
        case Fault::kQid:
            what = quoted + " is not qid: and a whole number";
            break;
        case Fault::kLabel:
            if (colon != token.npos)
                what = "the row begins with " + quoted + " where its label should be";
            else if (Decimal d; scan(at, d) && *d.last == ',')
                what = "label " + quoted +
                       " has a comma; several labels in a row and decimal commas are not supported";
            else
                what = "label " + quoted + why_not_number(at, token);
            break;
        case Fault::kValue:
            if (colon + 1 == token.size())
                what = "no value after the colon in " + quoted;
            else
                what =
                    "value in " + quoted + why_not_number(at + colon + 1, token.substr(colon + 1));
            break;
        case Fault::kWide:
            what = "feature index in " + quoted + " is too large: a model of at most " +
                   std::to_string(max_index) + " features is possible here; renumber the features";
            break;
        default:  // kIndex
            if (colon == token.npos)
                what = "expected index:value, found " + quoted;
            else if (token[0] == '-')
                what = "negative feature index in " + quoted;
            else if (token.find_first_not_of("0123456789") == colon && colon > 0)
                what = "feature index in " + quoted + " is too large; renumber the features";
            else
                what = "feature index in " + quoted + " is not a whole number";
    }
    if (!is_text)
        what +=
            "; this does not look like LIBSVM text (binary, or compressed twice, or otherwise than "
            "as "
            "bz2, gz, xz or zst?)";
    return what;
}

// ---- a block ----

// Cuts whole lines into parts of about the same size, whatever the number of threads.
inline std::vector<Chunk> cut(const char* begin, const char* end) {
    std::vector<Chunk> chunks;
    for (const char *p = begin, *q; p < end; p = q) {
        q = p + std::min<int64_t>(kChunk, end - p) - 1;
        q = static_cast<const char*>(std::memchr(q, '\n', end - q)) + 1;
        chunks.push_back({p, q});
    }
    return chunks;
}

template <class F>
void for_each_chunk(Team& team, std::vector<Chunk>& chunks, F visit) {
    parallel_chunks(team, static_cast<int64_t>(chunks.size()),
                    [&](int64_t i) { visit(chunks[i]); });
}

// Moves the parts together where the bounds were too high, and makes the row ends global.
template <class V, class I>
void close_gaps(const std::vector<Chunk>& chunks, const Output<V, I>& out,
                SvmlightRows<V>& rows) noexcept {
    for (const Chunk& chunk : chunks) {
        if (chunk.first_row != rows.n_rows)
            std::memmove(out.labels + rows.n_rows, out.labels + chunk.first_row,
                         chunk.n_rows * sizeof(double));
        if (chunk.first_entry != rows.n_entries) {
            std::memmove(out.indices + rows.n_entries, out.indices + chunk.first_entry,
                         chunk.n_entries * sizeof(I));
            std::memmove(out.values + rows.n_entries, out.values + chunk.first_entry,
                         chunk.n_entries * sizeof(V));
        }
        for (int64_t i = 1; i <= chunk.n_rows; ++i)  // forwards: a row end moves only to the left
            out.indptr[rows.n_rows + i] = out.indptr[chunk.first_row + i] + rows.n_entries;
        rows.n_rows += chunk.n_rows;
        rows.n_entries += chunk.n_entries;
        rows.n_lines += chunk.n_lines;
        rows.min_index = std::min(rows.min_index, chunk.min_index);
        rows.max_index = std::max(rows.max_index, chunk.max_index);
    }
}

// Where the parts of the output begin; false if they may take more than is allowed.
template <class V>
bool place(std::vector<Chunk>& chunks, int64_t max_bytes, SvmlightRows<V>& rows) {
    int64_t n_rows = rows.n_rows, n_entries = rows.n_entries;
    for (Chunk& chunk : chunks) {
        chunk.first_row = n_rows;
        chunk.first_entry = n_entries;
        n_rows += chunk.row_bound();
        n_entries += chunk.entry_bound();
    }
    if (rows.bytes_of(n_rows, n_entries) - kSlack > max_bytes) return false;
    rows.labels.reserve(n_rows);
    rows.indptr.reserve(n_rows + 1);
    rows.values.reserve(n_entries);
    rows.indptr.data[0] = 0;
    return true;
}

// Parses with indices of type I behind those that `rows` has, and keeps what it finds if
// `is_kept`. The result kWide without an error says that an index needs int64 and the block has to
// be parsed again.
template <class V, class I>
Fault fill(std::vector<Chunk> chunks, const SvmlightSettings& settings, Team& team, bool is_kept,
           SvmlightRows<V>& rows, Buffer<I>& indices, std::optional<SvmlightError>& error) {
    indices.reserve(chunks.back().first_entry + chunks.back().entry_bound());
    const Output<V, I> out{rows.labels.data.get(), rows.indptr.data.get(), indices.data.get(),
                           rows.values.data.get()};
    const int64_t max_index = settings.max_index;
    for_each_chunk(team, chunks,
                   [&](Chunk& chunk) { parse(chunk, out, settings.zero_based, max_index); });
    int64_t line = rows.n_lines + 1;
    for (const Chunk& chunk : chunks) {
        if (chunk.fault == Fault::kWide && std::numeric_limits<I>::max() < max_index)
            return Fault::kWide;
        if (chunk.fault != Fault::kNone) {
            error = SvmlightError{line + std::count(chunk.begin, chunk.fault_at, '\n'),
                                  describe(chunk, max_index)};
            return chunk.fault;
        }
        line += chunk.n_lines;
    }
    if (is_kept) close_gaps(chunks, out, rows);
    return Fault::kNone;
}

template <class V>
void widen(SvmlightRows<V>& rows) {
    rows.indices64.resize(rows.indices32.capacity);
    std::copy_n(rows.indices32.data.get(), rows.n_entries, rows.indices64.data.get());
    rows.indices32 = {};
    rows.is_wide = true;
}

// The line of the first row with which all of them take more than max_bytes; nullopt if none is.
// The text is the last block, whose first row and line have these numbers.
template <class V>
std::optional<int64_t> find_line_beyond(int64_t max_bytes, const SvmlightRows<V>& rows,
                                        const char* p, int64_t row, int64_t line) {
    const auto is_beyond = [&](int64_t r) {
        return rows.bytes_of(r + 1, rows.indptr.data[r + 1]) > max_bytes;
    };
    if (row == rows.n_rows || !is_beyond(rows.n_rows - 1)) return std::nullopt;
    for (;; ++line, ++p) {
        while (is_blank(*p)) ++p;
        if (*p != '#' && *p != '\n' && is_beyond(row++)) return line;
        while (*p != '\n') ++p;
    }
}

}  // namespace svmlight

// Appends the rows of a block to `rows`, or says what is wrong with it. The block ends with a
// '\n', behind which kPadding bytes can be read. Neither the number of threads nor where the text
// is cut into blocks changes the result. Without `is_kept` the block is looked at only.
template <class V>
std::optional<SvmlightError> read_block(const char* begin, const char* end,
                                        const SvmlightSettings& settings, Team& team, bool is_kept,
                                        SvmlightRows<V>& rows) {
    using namespace svmlight;
    // the byte order mark of UTF-8
    if (rows.n_lines == 0 && end - begin >= 3 && std::memcmp(begin, "\xEF\xBB\xBF", 3) == 0)
        begin += 3;
    if (begin == end) return std::nullopt;
    std::vector<Chunk> chunks = cut(begin, end);
    for (Chunk& chunk : chunks) chunk.needs_labels = settings.needs_labels;
    for_each_chunk(team, chunks, count);
    const int64_t row = rows.n_rows, line = rows.n_lines + 1;
    if (!place(chunks, settings.max_bytes, rows)) return SvmlightError{line, ""};
    std::optional<SvmlightError> error;
    if (!rows.is_wide &&
        fill(chunks, settings, team, is_kept, rows, rows.indices32, error) == Fault::kWide)
        if (!error) widen(rows);
    if (rows.is_wide) fill(chunks, settings, team, is_kept, rows, rows.indices64, error);
    if (error || !is_kept) return error;
    if (auto beyond = find_line_beyond(settings.max_bytes, rows, begin, row, line))
        error = SvmlightError{*beyond, ""};
    return error;
}

}  // namespace fh
