// A target and libFuzzer in one program. g++ calls __sanitizer_cov_trace_pc at every basic block;
// libFuzzer looks at arrays of counters of blocks, as clang makes them. This is the bridge.
#include <cstddef>
#include <cstdint>

int one_input(const uint8_t* data, size_t size);

extern "C" {
void __sanitizer_cov_8bit_counters_init(uint8_t* begin, uint8_t* end);
void __sanitizer_cov_pcs_init(const uintptr_t* begin, const uintptr_t* end);
int LLVMFuzzerRunDriver(int* argc, char*** argv, int (*target)(const uint8_t*, size_t));

constexpr int kBits = 14;
static uint8_t counters[1 << kBits];
static const uintptr_t places[2 << kBits] = {};  // of every counter: where it is, its flags

// Blocks that fall on the same counter look alike: with some hundreds of blocks these are few. The
// linker puts it in the place of the one in libFuzzer (--wrap), which only gives a warning.
void __wrap___sanitizer_cov_trace_pc() {
    const auto place = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
    ++counters[(place * 0x9E3779B97F4A7C15u) >> (64 - kBits)];
}

// Comparisons of reals, which clang does not report: libFuzzer has no use for them.
void __sanitizer_cov_trace_cmpf(float, float) {}
void __sanitizer_cov_trace_cmpd(double, double) {}
}

int main(int argc, char** argv) {
    __sanitizer_cov_8bit_counters_init(counters, counters + (1 << kBits));
    __sanitizer_cov_pcs_init(places, places + (2 << kBits));
    return LLVMFuzzerRunDriver(&argc, &argv, one_input);
}
