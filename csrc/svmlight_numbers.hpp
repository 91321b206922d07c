// Decimal numbers in LIBSVM text: from digits to the nearest double or float, without copies,
// locales or allocations. What is rare or hard is left to the standard library.
#pragma once

#include <cfloat>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <system_error>
#ifndef FH_FROM_CHARS  // a test takes the other way, that of macOS, whose library has none of reals
#ifdef __cpp_lib_to_chars
#define FH_FROM_CHARS 1
#else
#define FH_FROM_CHARS 0
#endif
#endif
#if !FH_FROM_CHARS
#include <locale.h>
#include <stdlib.h>
#if __has_include(<xlocale.h>)
#include <xlocale.h>
#endif
#endif

namespace fh {
namespace svmlight {

// Bytes that can be read past any line, so that loads of eight bytes need no check for the end.
constexpr int64_t kPadding = 16;

inline bool is_digit(char c) noexcept { return static_cast<unsigned char>(c - '0') < 10; }
inline bool is_blank(char c) noexcept { return c == ' ' || c == '\t' || c == '\r'; }
inline bool ends_token(char c) noexcept { return is_blank(c) || c == '\n' || c == '#'; }

constexpr double kPower10[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                               1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                               1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
constexpr uint64_t kScale[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};

// Appends the digits at p to the number and returns where they end. More than 19 digits wrap
// around, which the caller tells by their count. Eight are read at a time: Lemire, "Number parsing
// at a gigabyte per second", Softw. Pract. Exper. 51 (2021).
inline const char* read_digits(const char* p, uint64_t& number) noexcept {
    for (;;) {
        uint64_t word;
        std::memcpy(&word, p, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
#endif
        // digits become 0..9; a carry of the sum below goes only past the first non-digit
        word ^= 0x3030303030303030;
        const uint64_t others = (word | (word + 0x7676767676767676)) & 0x8080808080808080;
        const int n = others ? __builtin_ctzll(others) >> 3 : 8;
        if (n == 0) return p;
        word <<= 64 - 8 * n;  // the last digit to the highest byte, zeros in front of the first
        word = word * 10 + (word >> 8);
        word = ((word & 0x000000FF000000FF) * 0x000F424000000064 +
                ((word >> 16) & 0x000000FF000000FF) * 0x0000271000000001) >>
               32;
        number = number * kScale[n] + static_cast<uint32_t>(word);
        p += n;
        if (n < 8) return p;
    }
}

struct Decimal {
    const char *first, *last;  // without the sign
    uint64_t digits;           // valid for n_digits <= 19
    int64_t n_digits, exp10;
    bool is_negative;
};

// The number at p, up to the first character that is not part of it. False if there is none, or if
// it breaks off ("1e").
inline bool scan(const char* p, Decimal& d) noexcept {
    d.is_negative = *p == '-';
    p += d.is_negative || *p == '+';
    d.first = p;
    d.digits = 0;
    // most fractions have one digit before the point; to look for that first is 25 % faster
    if (is_digit(p[0]) && p[1] == '.')
        d.digits = static_cast<uint64_t>(*p++ - '0');
    else
        p = read_digits(p, d.digits);
    d.n_digits = p - d.first;
    d.exp10 = 0;
    if (*p == '.') {
        const char* fraction = p + 1;
        p = read_digits(fraction, d.digits);
        d.exp10 = fraction - p;
        d.n_digits += p - fraction;
    }
    if (d.n_digits == 0) return false;
    if (*p == 'e' || *p == 'E') {
        const bool is_minus = *++p == '-';
        p += is_minus || *p == '+';
        if (!is_digit(*p)) return false;
        int64_t e = 0;
        for (; is_digit(*p); ++p)
            if (e < 1'000'000'000'000'000) e = 10 * e + (*p - '0');
        d.exp10 += is_minus ? -e : e;
    }
    d.last = p;
    return true;
}

// The digits from d.first on, correctly rounded by the standard library; infinite or 0 where they
// are beyond V.
#if FH_FROM_CHARS
template <class V>
V magnitude_of(const Decimal& d) noexcept {
    V magnitude = 0;
    if (std::from_chars(d.first, d.last, magnitude).ec != std::errc::result_out_of_range)
        return magnitude;
    int64_t point = d.exp10 + d.n_digits;  // below 10^point, once leading zeros are taken off
    for (const char* p = d.first; *p == '0' || *p == '.'; ++p) point -= *p == '0';
    return point > 0 ? std::numeric_limits<V>::infinity() : 0;
}
#else
template <class V>
V magnitude_of(const Decimal& d) noexcept {
    static const locale_t point = newlocale(LC_ALL_MASK, "C", nullptr);  // and not a comma
    // it ends where the number does, as what follows is no part of one
    if constexpr (sizeof(V) == 4)
        return strtof_l(d.first, nullptr, point);
    else
        return strtod_l(d.first, nullptr, point);
}
#endif

// False if the number is too large for V; one that is too small becomes 0.
template <class V>
[[gnu::noinline]] bool convert_any(const Decimal& d, V& value) noexcept {
    const V magnitude = magnitude_of<V>(d);
    value = d.is_negative ? -magnitude : magnitude;
    return std::isfinite(magnitude);
}

// The number correctly rounded; false if it is too large.
inline bool convert(const Decimal& d, double& value) noexcept {
    // Clinger 1990: both operands are exact, so the one rounding is the right one. The wider
    // registers of x87 would round twice.
    constexpr uint64_t kExact = uint64_t{1} << 53;
    if (FLT_EVAL_METHOD == 0 && d.n_digits <= 19 && d.digits <= kExact && d.exp10 >= -22 &&
        d.exp10 <= 22) {
        const double digits = static_cast<double>(static_cast<int64_t>(d.digits));
        const double magnitude =
            d.exp10 < 0 ? digits / kPower10[-d.exp10] : digits * kPower10[d.exp10];
        value = d.is_negative ? -magnitude : magnitude;
        return true;
    }
    return convert_any(d, value);
}

inline bool convert(const Decimal& d, float& value) noexcept {
    double wide;
    if (!convert(d, wide)) return false;
    // Rounding twice errs only where the double lies half-way between two floats, or beyond the
    // normal floats.
    uint64_t bits;
    std::memcpy(&bits, &wide, 8);
    const double magnitude = std::fabs(wide);
    if ((bits & 0x1FFFFFFF) == 0x10000000 || magnitude > FLT_MAX ||
        (magnitude < FLT_MIN && magnitude > 0))
        return convert_any(d, value);
    value = static_cast<float>(wide);
    return true;
}

// Where the number at p ends, which must be the end of its token; nullptr if it is no finite
// number.
template <class V>
inline const char* read_real(const char* p, V& value) noexcept {
    Decimal d;
    return scan(p, d) && ends_token(*d.last) && convert(d, value) ? d.last : nullptr;
}

// Past a label that says that it is unknown; nullptr if this is none.
[[gnu::noinline]] inline const char* skip_unknown(const char* p) noexcept {
    if (*p == '+' || *p == '-') ++p;
    for (const char* word : {"nan", "inf", "infinity", "?"}) {
        const char* q = p;
        while (*word && static_cast<char>(*q | 32) == *word) ++word, ++q;  // any case
        if (!*word && ends_token(*q)) return q;
    }
    return nullptr;
}

}  // namespace svmlight
}  // namespace fh
