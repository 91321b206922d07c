// A number of values on the device that differs when any of them does, as good as surely; meant for
// changes by accident.
#include "columns.cuh"

// sums[t] += Σ mix(k, words[k]) modulo 2^64 over the words of thread t: whole numbers, so that the
// total does not depend on how words are shared.
extern "C" __global__ void fingerprint(i64 n, const int* words, i64* sums) {
    typedef unsigned long long u64;
    const i64 first = i64(blockIdx.x) * blockDim.x + threadIdx.x,
              step = i64(gridDim.x) * blockDim.x;
    u64 sum = 0;
    for (i64 k = first; k < n; k += step) {
        // SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators")
        u64 z = u64(k) * 0x9E3779B97F4A7C15u + u64(unsigned(words[k])) + 1;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        sum += z ^ (z >> 31);
    }
    sums[first] += i64(sum);
}
