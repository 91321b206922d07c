// What a target finds wrong by itself ends the program as a sanitizer does.
#pragma once
#include <cstdio>
#include <cstdlib>

inline void expect(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "differs from the slow one: %s\n", what);
    std::abort();
}
