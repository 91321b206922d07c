// The reader of LIBSVM text against a slow one that is easy to see through: the same rows, bit for
// bit, or an error about the same line.
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "expect.hpp"
#include "svmlight.hpp"

namespace {

template <class V>
using Row = std::vector<std::pair<int64_t, V>>;  // feature as written, value

template <class V>
struct Reading {
    int64_t bad_line = -1;  // 0: the file as a whole
    std::vector<std::vector<double>> labels;
    std::vector<double> weights;
    std::vector<int64_t> queries;  // -1: none
    std::vector<Row<V>> rows;
    bool has_index_0 = false;
    int64_t largest = -1;
};

double nearest(const char* text, double) { return std::strtod(text, nullptr); }
float nearest(const char* text, float) { return std::strtof(text, nullptr); }

size_t n_digits(const std::string& text, size_t at) {
    size_t n = 0;
    while (at + n < text.size() && text[at + n] >= '0' && text[at + n] <= '9') ++n;
    return n;
}

template <class V>
bool read_number(const std::string& text, V& value) {
    size_t at = !text.empty() && (text[0] == '-' || text[0] == '+');
    const size_t whole = n_digits(text, at);
    at += whole;
    size_t fraction = 0;
    if (at < text.size() && text[at] == '.') at += 1 + (fraction = n_digits(text, at + 1));
    if (whole + fraction == 0) return false;
    if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
        ++at;
        at += at < text.size() && (text[at] == '-' || text[at] == '+');
        const size_t exponent = n_digits(text, at);
        if (exponent == 0) return false;
        at += exponent;
    }
    value = nearest(text.c_str(), V());
    return at == text.size() && std::isfinite(value);
}

template <class V>
bool read_entry(const std::string& token, std::pair<int64_t, V>& entry) {
    const size_t n = n_digits(token, 0);
    if (n == 0 || n > 18 || n == token.size() || token[n] != ':') return false;
    entry.first = std::stoll(token.substr(0, n));
    return read_number(token.substr(n + 1), entry.second);
}

bool is_query(const std::string& token) {
    return token.size() > 4 && n_digits(token, 4) == token.size() - 4;
}

// The last 63 bits of a whole number of any size.
int64_t query_of(const std::string& token) {
    uint64_t number = 0;
    for (size_t i = 4; i < token.size(); ++i) number = 10 * number + uint64_t(token[i] - '0');
    return static_cast<int64_t>(number & INT64_MAX);
}

// Labels between commas, sorted and each once; none where the token is an entry or a query.
bool read_set(const std::string& token, std::vector<double>& labels) {
    if (token.find(':') != token.npos) return true;
    for (size_t begin = 0, end = 0; end < token.size(); begin = end + 1) {
        end = std::min(token.find(',', begin), token.size());
        labels.emplace_back();
        if (!read_number(token.substr(begin, end - begin), labels.back())) return false;
    }
    std::sort(labels.begin(), labels.end());
    labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
    return true;
}

template <class V>
bool read_line(const std::vector<std::string>& tokens, const fh::SvmlightSettings& settings,
               Reading<V>& all) {
    const auto [zero_based, max_index] = std::pair(settings.zero_based, settings.max_index);
    std::vector<double> labels;
    double weight = 1;
    size_t first = 1;
    if (settings.has_several) {
        if (!read_set(tokens[0], labels)) return false;
        first = !labels.empty();
    } else {
        labels.emplace_back();
        const size_t colon = settings.has_weights ? tokens[0].find(':') : std::string::npos;
        if (!read_number(tokens[0].substr(0, colon), labels[0])) return false;
        if (colon != std::string::npos &&
            (!read_number(tokens[0].substr(colon + 1), weight) || weight < 0))
            return false;
    }
    int64_t query = -1;
    if (tokens.size() > first && tokens[first].compare(0, 4, "qid:") == 0) {
        if (!is_query(tokens[first])) return false;
        query = query_of(tokens[first++]);
    }
    all.weights.push_back(weight);
    all.queries.push_back(query);
    Row<V> row;
    for (size_t i = first; i < tokens.size(); ++i) {
        row.emplace_back();
        if (!read_entry(tokens[i], row.back())) return false;
        if (row.back().first > max_index || (zero_based == 0 && row.back().first == 0))
            return false;
    }
    std::sort(row.begin(), row.end());
    for (size_t i = 1; i < row.size(); ++i)
        if (row[i].first == row[i - 1].first) return false;
    if (!row.empty()) {
        all.has_index_0 |= row[0].first == 0;
        all.largest = std::max(all.largest, row.back().first);
    }
    row.erase(std::remove_if(row.begin(), row.end(), [](auto& one) { return one.second == 0; }),
              row.end());
    all.labels.push_back(std::move(labels));
    all.rows.push_back(std::move(row));
    return true;
}

template <class V>
Reading<V> read_slowly(std::string text, const fh::SvmlightSettings& settings) {
    if (text.compare(0, 3, "\xEF\xBB\xBF") == 0) text.erase(0, 3);
    Reading<V> all;
    size_t begin = 0;
    for (int64_t number = 1; begin < text.size(); ++number) {
        const size_t end = std::min(text.find('\n', begin), text.size());
        std::string line = text.substr(begin, end - begin);
        begin = end + 1;
        line = line.substr(0, line.find('#'));
        std::vector<std::string> tokens;
        for (size_t at = 0; (at = line.find_first_not_of(" \t\r", at)) != line.npos;) {
            const size_t stop = std::min(line.find_first_of(" \t\r", at), line.size());
            tokens.push_back(line.substr(at, stop - at));
            at = stop;
        }
        if (!tokens.empty() && !read_line(tokens, settings, all)) {
            all.bad_line = number;
            return all;
        }
    }
    if (all.rows.empty()) all.bad_line = 0;
    return all;
}

template <class T>
bool same_bits(T a, T b) {
    return std::memcmp(&a, &b, sizeof a) == 0;
}

// The text in blocks of so many lines; returns the line of an error, or -1.
template <class V>
int64_t read_in_blocks(const std::string& text, const fh::SvmlightSettings& settings, int n_lines,
                       fh::SvmlightRows<V>& rows) {
    for (size_t begin = 0; begin < text.size();) {
        size_t end = begin;
        for (int i = 0; i < n_lines && end < text.size(); ++i)
            end = std::min(text.find('\n', end), text.size()) + 1;
        std::string block = text.substr(begin, end - begin);
        begin = end;
        if (block.back() != '\n') block += '\n';
        const size_t size = block.size();
        // What is left of an earlier block lies there; none of it may be read as if it belonged.
        block.append(fh::svmlight::kPadding, '7');
        const std::vector<char> exact(block.begin(), block.end());
        fh::Team team(3, nullptr);
        const auto error =
            fh::read_block(exact.data(), exact.data() + size, settings, team, true, rows);
        if (error) return error->line;
    }
    return rows.n_rows == 0 ? 0 : -1;
}

template <class V>
void compare(const fh::SvmlightRows<V>& found, const Reading<V>& expected, int shift) {
    expect(found.n_rows == int64_t(expected.rows.size()), "number of rows");
    expect(found.max_index == (expected.largest < 0 ? -1 : expected.largest - shift), "features");
    int64_t k = 0;
    for (int64_t i = 0; i < found.n_rows; ++i) {
        expect(found.indptr.data[i] == k, "row pointer");
        const auto& labels = expected.labels[i];
        if (found.has_several) {
            const double* first = found.labels.data.get() + found.labelptr.data[i];
            const int64_t n = found.labelptr.data[i + 1] - found.labelptr.data[i];
            expect(std::equal(first, first + n, labels.begin(), labels.end()), "set of labels");
        } else {
            expect(same_bits(found.labels.data[i], labels[0]), "label");
        }
        if (found.has_weights)
            expect(same_bits(found.weights.data[i], expected.weights[i]), "weight");
        if (found.has_queries) expect(found.queries.data[i] == expected.queries[i], "query");
        for (const auto& [feature, value] : expected.rows[i]) {
            const int64_t index = found.is_wide ? found.indices64.data[k] : found.indices32.data[k];
            expect(index == feature - shift && same_bits(found.values.data[k], value), "entry");
            ++k;
        }
    }
    expect(found.indptr.data[found.n_rows] == k && found.n_entries == k, "number of entries");
}

template <class V>
void check(const std::string& text, int zero_based, int64_t max_index, bool reads_more = false,
           bool has_several = false) {
    const bool has_weights = reads_more && !has_several;
    const fh::SvmlightSettings settings{zero_based,  max_index,  INT64_MAX,  true,
                                        has_weights, reads_more, has_several};
    const auto expected = read_slowly<V>(text, settings);
    for (int n_lines : {1, 3, INT32_MAX}) {
        fh::SvmlightRows<V> found;
        const int64_t line = read_in_blocks(text, settings, n_lines, found);
        expect(line == expected.bad_line, "line of the error");
        if (line < 0) {
            expect(found.has_queries == (reads_more && expected.queries[0] >= 0), "queries");
            compare(found, expected, zero_based != 1);
        }
    }
}

}  // namespace

int one_input(const uint8_t* data, size_t size) {
    const std::string text(reinterpret_cast<const char*>(data), size);
    for (int zero_based : {-1, 0, 1}) check<double>(text, zero_based, INT64_MAX);
    check<double>(text, -1, 100);
    check<float>(text, -1, INT64_MAX);
    check<double>(text, -1, INT64_MAX, true);
    check<double>(text, -1, INT64_MAX, true, true);
    return 0;
}
