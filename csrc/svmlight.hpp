// Reads LIBSVM (svmlight) text: `label [qid:n] index:value index:value ... [# comment]`, one row a
// line, whose labels may be several, `label,label`. The text comes in blocks of whole lines, so
// that it is never in memory as a whole.
//
// Two passes over a block. The first counts colons and line ends at memory speed: upper bounds of
// entries and rows, so the output grows once a block and every thread writes to its final place.
// The second parses. Nothing is copied, unless comments, blank lines or explicit zeros made a bound
// too high; then the parts are moved together.
#pragma once

#include "parallel.hpp"
#include "svmlight_rows.hpp"

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
    int64_t n_rows = 0, n_entries = 0, n_labels = 0;
    int64_t n_lines = 0;                            // those that were read, with or without a row
    int64_t min_index = INT64_MAX, max_index = -1;  // explicit zeros included
    bool is_wide = false;
    bool has_weights = false, has_queries = false, has_several = false;
    Buffer<double> labels, weights;
    Buffer<int64_t> queries, labelptr;
    Buffer<int64_t> indptr;
    Buffer<int32_t> indices32;
    Buffer<int64_t> indices64;
    Buffer<V> values;

    int64_t bytes_of(int64_t rows, int64_t entries, int64_t labels) const noexcept {
        return 8 * labels + rows * (8 + 8 * has_weights + 8 * has_queries + 8 * has_several) +
               entries * (int64_t{sizeof(V)} + (is_wide ? 8 : 4));
    }
};

// With zero_based 1 features count from 0, with 0 from 1, with -1 from 0 if an index 0 is seen.
struct SvmlightSettings {
    int zero_based;
    int64_t max_index, max_bytes;  // more is an error
    bool needs_labels = true;      // else a label may be nan, inf or ?
    bool has_weights = false;      // whether labels may be label:weight
    bool reads_queries = false;    // whether qid:n is kept, if the first row has one
    bool has_several = false;      // whether rows may have several labels, or none
};

struct SvmlightError {
    int64_t line;      // counted from 1
    std::string what;  // empty: the rows take more than max_bytes
};

namespace svmlight {

constexpr int64_t kChunk = 1 << 16;  // a thread parses that much while another one starts
// What is reserved for an ordinary block may be that much too high.
constexpr int64_t kSlack = int64_t{1} << 26;

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
        case Fault::kWeight:
            what = "the weight in " + quoted + " is not a number >= 0";
            break;
        case Fault::kQid:
            what = quoted + " is not qid: and a whole number";
            break;
        case Fault::kLabel:
            if (colon != token.npos)
                what = "the row begins with " + quoted + " where its label should be";
            else if (Decimal d; scan(at, d) && *d.last == ',')
                what = "label " + quoted +
                       " has a comma, and a row has one label here; read rows of several labels "
                       "with multilabel (--multilabel), and write decimals with a point";
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
        if (chunk.first_label != rows.n_labels)
            std::memmove(out.labels + rows.n_labels, out.labels + chunk.first_label,
                         chunk.n_labels * sizeof(double));
        if (chunk.first_row != rows.n_rows && out.weights)
            std::memmove(out.weights + rows.n_rows, out.weights + chunk.first_row,
                         chunk.n_rows * sizeof(double));
        if (chunk.first_row != rows.n_rows && out.queries)
            std::memmove(out.queries + rows.n_rows, out.queries + chunk.first_row,
                         chunk.n_rows * sizeof(int64_t));
        if (chunk.first_entry != rows.n_entries) {
            std::memmove(out.indices + rows.n_entries, out.indices + chunk.first_entry,
                         chunk.n_entries * sizeof(I));
            std::memmove(out.values + rows.n_entries, out.values + chunk.first_entry,
                         chunk.n_entries * sizeof(V));
        }
        for (int64_t i = 1; i <= chunk.n_rows; ++i)  // forwards: a row end moves only to the left
            out.indptr[rows.n_rows + i] = out.indptr[chunk.first_row + i] + rows.n_entries;
        for (int64_t i = 1; out.labelptr && i <= chunk.n_rows; ++i)
            out.labelptr[rows.n_rows + i] = out.labelptr[chunk.first_row + i] + rows.n_labels;
        rows.n_labels += chunk.n_labels;
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
    int64_t n_rows = rows.n_rows, n_entries = rows.n_entries, n_labels = rows.n_labels;
    for (Chunk& chunk : chunks) {
        chunk.first_row = n_rows;
        chunk.first_entry = n_entries;
        chunk.first_label = n_labels;
        n_rows += chunk.row_bound();
        n_entries += chunk.entry_bound();
        n_labels += chunk.label_bound();
    }
    if (rows.bytes_of(n_rows, n_entries, n_labels) - kSlack > max_bytes) return false;
    rows.labels.reserve(n_labels);
    if (rows.has_several) {
        rows.labelptr.reserve(n_rows + 1);
        rows.labelptr.data[0] = 0;
    }
    if (rows.has_weights) rows.weights.reserve(n_rows);
    if (rows.has_queries) rows.queries.reserve(n_rows);
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
    const Output<V, I> out{rows.labels.data.get(),  rows.indptr.data.get(),
                           indices.data.get(),      rows.values.data.get(),
                           rows.weights.data.get(), rows.queries.data.get(),
                           rows.labelptr.data.get()};
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
        const int64_t n_labels = rows.has_several ? rows.labelptr.data[r + 1] : r + 1;
        return rows.bytes_of(r + 1, rows.indptr.data[r + 1], n_labels) > max_bytes;
    };
    if (row == rows.n_rows || !is_beyond(rows.n_rows - 1)) return std::nullopt;
    for (;; ++line, ++p) {
        while (is_blank(*p)) ++p;
        if (*p != '#' && *p != '\n' && is_beyond(row++)) return line;
        while (*p != '\n') ++p;
    }
}

// Whether the first row has the number of its query.
inline bool begins_with_query(const char* p, const char* end) noexcept {
    for (; p < end; ++p) {
        while (is_blank(*p)) ++p;
        if (*p != '#' && *p != '\n') break;
        p = static_cast<const char*>(std::memchr(p, '\n', end - p));
    }
    const auto is_here = [&] { return end - p > 4 && std::memcmp(p, "qid:", 4) == 0; };
    if (is_here()) return true;  // of a row that has no label
    while (p < end && !ends_token(*p)) ++p;
    while (p < end && is_blank(*p)) ++p;
    return is_here();
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
    if (rows.n_rows == 0) {
        rows.has_weights = settings.has_weights;
        rows.has_queries = settings.reads_queries && begins_with_query(begin, end);
        rows.has_several = settings.has_several;
    }
    std::vector<Chunk> chunks = cut(begin, end);
    for (Chunk& chunk : chunks) {
        chunk.needs_labels = settings.needs_labels;
        chunk.n_commas = settings.has_several - 1;
    }
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
