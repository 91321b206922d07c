// Reads LIBSVM (svmlight) text that lies in memory: `label [qid:n] index:value ... [# comment]`,
// one row a line.
//
// Two passes. The first counts colons and line ends at memory speed: upper bounds of entries and
// rows, so the output is allocated once and every thread writes to its final place. The second
// parses. Nothing grows and nothing is copied, unless comments, blank lines or explicit zeros made
// a bound too high; then the parts are moved together.
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

// Memory of malloc, so that it can shrink in place and be handed to another owner.
template <class T>
using Buffer = std::unique_ptr<T[], Free>;

template <class T>
Buffer<T> allocate(int64_t n) {
    T* p = static_cast<T*>(std::malloc(std::max<int64_t>(n, 1) * sizeof(T)));
    if (!p) throw std::bad_alloc();
    return Buffer<T>(p);
}

template <class T>
void shrink(Buffer<T>& buffer, int64_t n) noexcept {
    T* old = buffer.release();
    T* p = static_cast<T*>(std::realloc(old, std::max<int64_t>(n, 1) * sizeof(T)));
    buffer.reset(p ? p : old);
}

// The matrix in CSR. One of the two index arrays is empty: int32 when every index in the file is
// below 2^31.
template <class V>
struct SvmlightRows {
    int64_t n_rows = 0, n_entries = 0;
    int64_t n_features = 0;  // the largest index seen + 1, explicit zeros included
    bool has_index_0 = false;
    Buffer<double> labels;
    Buffer<int64_t> indptr;
    Buffer<int32_t> indices32;
    Buffer<int64_t> indices64;
    Buffer<V> values;
};

struct SvmlightError {
    int64_t line;  // 1-based; 0: about the file as a whole
    std::string what;
    std::string message() const {
        return line ? "line " + std::to_string(line) + ": " + what : what;
    }
};

namespace svmlight {

// kWide: an index beyond the largest one allowed, or beyond int32.
enum class Fault : uint8_t { kNone, kLabel, kQid, kIndex, kZeroIndex, kTwice, kValue, kWide };

// Whole lines, each closed by '\n', so that no scan needs to test for the end of the text.
struct Chunk {
    const char *begin, *end;
    int64_t n_lines = 0, n_colons = 0;       // bounds of rows and entries
    int64_t first_row = 0, first_entry = 0;  // where its part of the output begins
    int64_t n_rows = 0, n_entries = 0;       // what was found
    int64_t min_index = INT64_MAX, max_index = -1;
    Fault fault = Fault::kNone;
    const char* fault_at = nullptr;  // the token
    int64_t feature = 0;             // of kTwice, as written in the file
};

template <class V, class I>
struct Output {
    double* labels;
    int64_t* indptr;
    I* indices;
    V* values;
};

// Bounds of the rows and entries of a chunk: its line ends and its colons.
inline void count(Chunk& chunk) noexcept {
    for (const char* p = chunk.begin; p < chunk.end;) {
        // 255 at a time: the byte counters cannot overflow
        const int64_t n = std::min<int64_t>(chunk.end - p, 255);
        uint8_t colons = 0, lines = 0;
        for (int64_t i = 0; i < n; ++i) {
            colons += p[i] == ':';
            lines += p[i] == '\n';
        }
        chunk.n_colons += colons;
        chunk.n_lines += lines;
        p += n;
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
    if (!(p = read_real(p, label))) return fail(chunk, Fault::kLabel, token);
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
            "; this does not look like LIBSVM text (binary, or compressed under another name than "
            "*.bz2, *.gz, *.xz?)";
    return what;
}

// ---- the whole text ----

// Cuts whole lines into about n parts of equal bytes, and a last one for the copied end of the
// text.
inline std::vector<Chunk> cut(const char* begin, const char* end, int64_t n, std::string& tail) {
    const char* tail_begin = end - std::min<int64_t>(end - begin, kPadding);
    while (tail_begin > begin && tail_begin[-1] != '\n') --tail_begin;
    tail.reserve(end - tail_begin + 1 + kPadding);
    tail.assign(tail_begin, end);
    if (!tail.empty() && tail.back() != '\n') tail += '\n';
    const int64_t tail_size = static_cast<int64_t>(tail.size());
    tail.append(kPadding, '\0');
    std::vector<Chunk> chunks;
    const int64_t size = tail_begin - begin;
    const char* p = begin;
    for (int64_t i = 1; i <= n && p < tail_begin; ++i) {
        const char* q = std::max(p, begin + (i < n ? size / n * i : size));
        q = std::min(std::find(q, tail_begin, '\n') + 1, tail_begin);
        chunks.push_back({p, q});
        p = q;
    }
    chunks.push_back({tail.data(), tail.data() + tail_size});
    return chunks;
}

// Asks before every chunk whether to stop; then the rest is left.
template <class F>
void for_each_chunk(std::vector<Chunk>& chunks, Team& team, F visit) {
    parallel_chunks(team, static_cast<int64_t>(chunks.size()), [&](int64_t i) {
        if (is_caller()) team.poll();
        if (!team.is_stopped.load(std::memory_order_relaxed)) visit(chunks[i]);
    });
}

// Moves the parts together where the bounds were too high, and makes the row ends global.
template <class V, class I>
void close_gaps(const std::vector<Chunk>& chunks, const Output<V, I>& out,
                SvmlightRows<V>& rows) noexcept {
    int64_t n_rows = 0, n_entries = out.indptr[0] = 0;
    for (const Chunk& chunk : chunks) {
        if (chunk.first_row != n_rows)
            std::memmove(out.labels + n_rows, out.labels + chunk.first_row,
                         chunk.n_rows * sizeof(double));
        if (chunk.first_entry != n_entries) {
            std::memmove(out.indices + n_entries, out.indices + chunk.first_entry,
                         chunk.n_entries * sizeof(I));
            std::memmove(out.values + n_entries, out.values + chunk.first_entry,
                         chunk.n_entries * sizeof(V));
        }
        for (int64_t i = 1; i <= chunk.n_rows; ++i)  // forwards: a row end moves only to the left
            out.indptr[n_rows + i] = out.indptr[chunk.first_row + i] + n_entries;
        n_rows += chunk.n_rows;
        n_entries += chunk.n_entries;
    }
    rows.n_rows = n_rows;
    rows.n_entries = n_entries;
}

// Parses with indices of type I into `rows`. The result kWide without an error says that an index
// needs int64 and the text has to be parsed again.
template <class V, class I>
Fault fill(std::vector<Chunk>& chunks, int zero_based, int64_t max_index, Team& team,
           SvmlightRows<V>& rows, Buffer<I>& indices, std::optional<SvmlightError>& error) {
    const Chunk& end = chunks.back();
    const int64_t row_bound = end.first_row + end.n_lines,
                  entry_bound = end.first_entry + end.n_colons;
    rows.labels = allocate<double>(row_bound);
    rows.indptr = allocate<int64_t>(row_bound + 1);
    indices = allocate<I>(entry_bound);
    rows.values = allocate<V>(entry_bound);
    const Output<V, I> out{rows.labels.get(), rows.indptr.get(), indices.get(), rows.values.get()};
    for_each_chunk(chunks, team, [&](Chunk& chunk) { parse(chunk, out, zero_based, max_index); });
    if (team.is_stopped) return Fault::kNone;

    int64_t line = 1, smallest = INT64_MAX, largest = -1;
    for (const Chunk& chunk : chunks) {
        if (chunk.fault == Fault::kWide && std::numeric_limits<I>::max() < max_index)
            return Fault::kWide;
        if (chunk.fault != Fault::kNone) {
            error = SvmlightError{line + std::count(chunk.begin, chunk.fault_at, '\n'),
                                  describe(chunk, max_index)};
            return chunk.fault;
        }
        line += chunk.n_lines;
        smallest = std::min(smallest, chunk.min_index);
        largest = std::max(largest, chunk.max_index);
    }
    close_gaps(chunks, out, rows);
    if (rows.n_rows == 0)
        error = SvmlightError{0, "no rows; the file is empty or holds only comments"};
    const int64_t step = smallest < 0;  // 0-based after all
    if (step)
        for (int64_t i = 0; i < rows.n_entries; ++i) ++out.indices[i];
    rows.n_features = largest + step + 1;
    rows.has_index_0 = step || (zero_based == 1 && smallest == 0);
    shrink(rows.labels, rows.n_rows);
    shrink(rows.indptr, rows.n_rows + 1);
    shrink(indices, rows.n_entries);
    shrink(rows.values, rows.n_entries);
    return Fault::kNone;
}

}  // namespace svmlight

// Fills `rows` from the text, or says what is wrong with it; when the team was stopped, neither.
// The result does not depend on the threads. With zero_based 1 features count from 0, with 0 from
// 1, with -1 from 0 if an index 0 is seen. An index above max_index is an error.
template <class V>
std::optional<SvmlightError> parse_svmlight(const char* begin, const char* end, int zero_based,
                                            int64_t max_index, Team& team, SvmlightRows<V>& rows) {
    using namespace svmlight;
    // the byte order mark of UTF-8
    if (end - begin >= 3 && std::memcmp(begin, "\xEF\xBB\xBF", 3) == 0) begin += 3;
    std::string tail;
    // threads that are worth their start, which costs as much as parsing 64 kB
    const int64_t worthwhile = (end - begin) / (1 << 16) + 1;
    team.n_threads = static_cast<int>(std::min<int64_t>(team.n_threads, worthwhile));
    // several a thread, and none of more than 16 MB, after which is asked whether to stop
    const int64_t wanted = team.n_threads > 1 ? 4 * int64_t{team.n_threads} : 1,
                  n_chunks = std::min(worthwhile, std::max(wanted, (end - begin) / (1 << 24) + 1));
    std::vector<Chunk> chunks = cut(begin, end, n_chunks, tail);
    for_each_chunk(chunks, team, count);
    if (team.is_stopped) return std::nullopt;
    for (size_t i = 1; i < chunks.size(); ++i) {
        chunks[i].first_row = chunks[i - 1].first_row + chunks[i - 1].n_lines;
        chunks[i].first_entry = chunks[i - 1].first_entry + chunks[i - 1].n_colons;
    }
    std::optional<SvmlightError> error;
    std::vector<Chunk> narrow = chunks;
    if (fill(narrow, zero_based, max_index, team, rows, rows.indices32, error) == Fault::kWide &&
        !error) {
        rows.indices32.reset();
        fill(chunks, zero_based, max_index, team, rows, rows.indices64, error);
    }
    return error;
}

}  // namespace fh
