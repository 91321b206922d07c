// Small loops whose length the compiler knows.
#pragma once
#include <type_traits>

namespace fh {

constexpr int max_width = 16;
// f(width) with a compile-time width for m = 1..16 columns, else width 0 for "look at m": small
// loops of known length are 3 times as fast
template <class F>
void with_width(int m, F&& f) {
    switch (m) {
        case 1:
            return f(std::integral_constant<int, 1>());
        case 2:
            return f(std::integral_constant<int, 2>());
        case 3:
            return f(std::integral_constant<int, 3>());
        case 4:
            return f(std::integral_constant<int, 4>());
        case 5:
            return f(std::integral_constant<int, 5>());
        case 6:
            return f(std::integral_constant<int, 6>());
        case 7:
            return f(std::integral_constant<int, 7>());
        case 8:
            return f(std::integral_constant<int, 8>());
        case 9:
            return f(std::integral_constant<int, 9>());
        case 10:
            return f(std::integral_constant<int, 10>());
        case 11:
            return f(std::integral_constant<int, 11>());
        case 12:
            return f(std::integral_constant<int, 12>());
        case 13:
            return f(std::integral_constant<int, 13>());
        case 14:
            return f(std::integral_constant<int, 14>());
        case 15:
            return f(std::integral_constant<int, 15>());
        case 16:
            return f(std::integral_constant<int, 16>());
        default:
            return f(std::integral_constant<int, 0>());
    }
}

}  // namespace fh
