// The look at the structure of compressed rows against a slow one: the same fault at the same
// place.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "expect.hpp"
#include "structure.hpp"

namespace {

// What is left of the input, as small numbers; zeros once it is used up.
struct Source {
    const uint8_t *p, *end;
    int next() { return p < end ? *p++ : 0; }
    bool is_used_up() const { return p == end; }
};

// Mostly small numbers, and those at which types end or wrap around.
template <class T>
T any_number(Source& from) {
    constexpr int64_t far[] = {-1,
                               INT32_MIN,
                               INT32_MAX,
                               int64_t{1} << 31,
                               (int64_t{1} << 32) + 1,
                               int64_t{1} << 40,
                               int64_t{1} << 62,
                               INT64_MIN,
                               INT64_MAX};
    const int code = from.next();
    const int n_far = sizeof far / sizeof far[0];
    return static_cast<T>(code < 256 - n_far ? code : far[255 - code]);
}

template <class P, class I>
struct Rows {
    std::vector<P> indptr{0};
    std::vector<I> indices;
    int64_t n_stored, n_cols;
};

// Sound rows, in which some numbers are then replaced. Enough of them for several threads take
// 1000 times as long, so that few inputs ask for that.
template <class P, class I>
Rows<P, I> decode(Source& from) {
    Rows<P, I> X;
    const int kind = from.next(), n_rows = from.next() % 16;
    const bool is_large = kind == 255;
    X.n_cols = from.next();
    const size_t least = is_large && n_rows > 0 ? 1 << 16 : 0;
    X.indices.reserve(least + 128);
    X.indptr.reserve(least + 128);
    do {
        for (int i = 0; i < n_rows; ++i) {
            const int length = 1 + i * (kind >> 4) % 7;
            for (int k = 0; k < length; ++k) X.indices.push_back(k);
            X.indptr.push_back(static_cast<P>(X.indices.size()));
        }
    } while (X.indices.size() < least);
    X.n_stored = static_cast<int64_t>(X.indices.size());
    while (!from.is_used_up()) {
        const int what = from.next();
        const size_t at = from.next() + (is_large ? 256 * from.next() + 65536 * (what >> 4) : 0);
        if (what % 3 == 0)
            X.indptr[at % X.indptr.size()] = any_number<P>(from);
        else if (what % 3 == 1 && !X.indices.empty())
            X.indices[at % X.indices.size()] = any_number<I>(from);
        else if (what % 3 == 2)
            X.n_stored -= std::min<int64_t>(X.n_stored, from.next());
    }
    X.indices.resize(X.n_stored);
    X.indices.shrink_to_fit();  // so that a read beyond the end is one of foreign memory
    return X;
}

template <class P, class I>
fh::Structure look_slowly(const Rows<P, I>& X) {
    using fh::Fault;
    const int64_t n_rows = static_cast<int64_t>(X.indptr.size()) - 1;
    if (X.indptr[0] != 0) return {Fault::start};
    for (int64_t i = 0; i < n_rows; ++i)
        if (X.indptr[i + 1] < X.indptr[i]) return {Fault::decrease, i};
    if (X.indptr[n_rows] > X.n_stored) return {Fault::end};
    for (int64_t k = 0; k < X.indptr[n_rows]; ++k)
        if (X.indices[k] < 0 || X.indices[k] >= X.n_cols) return {Fault::index, k};
    fh::Structure found;
    for (int64_t i = 0; i < n_rows; ++i)
        for (int64_t k = X.indptr[i] + 1; k < X.indptr[i + 1]; ++k)
            found.is_canonical &= X.indices[k] > X.indices[k - 1];
    return found;
}

template <class P, class I>
void check(Source from) {
    const auto X = decode<P, I>(from);
    const int64_t n_rows = static_cast<int64_t>(X.indptr.size()) - 1;
    const fh::Structure expected = look_slowly(X);
    for (int n_threads : {1, 3}) {
        fh::Team team(n_threads, nullptr);
        const fh::Structure found =
            fh::look_at(team, n_rows, X.indptr.data(), X.n_stored, X.indices.data(), X.n_cols);
        expect(found.fault == expected.fault, "fault");
        expect(found.at == expected.at, "place");
        if (found.fault == fh::Fault::none)
            expect(found.is_canonical == expected.is_canonical, "order");
    }
}

}  // namespace

int one_input(const uint8_t* data, size_t size) {
    Source from{data, data + size};
    switch (from.next() & 3) {
        case 0:
            check<int32_t, int32_t>(from);
            break;
        case 1:
            check<int64_t, int32_t>(from);
            break;
        case 2:
            check<int32_t, int64_t>(from);
            break;
        default:
            check<int64_t, int64_t>(from);
    }
    return 0;
}
