// Threads: the only file that knows them. Work is cut into chunks; whoever sums over chunks does so
// in their order, so that the result does not depend on which thread ran what.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#ifdef _OPENMP
#include <omp.h>
#endif
#ifndef _WIN32
#include <pthread.h>
#endif

namespace fh {

// libgomp hangs in the child of a fork() when the parent has run a parallel region: such a child
// works on one thread.
inline bool& is_forked_child() {
    static bool flag = false;
    return flag;
}
inline void watch_fork() {
#ifndef _WIN32
    pthread_atfork(nullptr, nullptr, [] { is_forked_child() = true; });
#endif
}

inline int hardware_threads() {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

// How many threads to use, and whom to ask whether to stop. `should_stop` is called by the calling
// thread only.
struct Team {
    int n_threads = 1;
    bool (*should_stop)() = nullptr;
    std::atomic<bool> is_stopped{false};

    Team(int threads, bool (*stop)())
        : n_threads(is_forked_child() ? 1 : std::max(1, threads)), should_stop(stop) {}
    bool poll() {
        if (!is_stopped.load(std::memory_order_relaxed) && should_stop && should_stop())
            is_stopped = true;
        return is_stopped.load(std::memory_order_relaxed);
    }
};

// Whether this is the thread that called us, the only one that may ask whether to stop.
inline bool is_caller() {
#ifdef _OPENMP
    return omp_get_thread_num() == 0;
#else
    return true;
#endif
}

// f(chunk) for chunk = 0 .. n_chunks-1, each taken by whichever thread is free: a neighbour that
// takes a core away for a while delays one chunk.
template <class F>
void parallel_chunks(Team& team, int64_t n_chunks, F&& f) {
#ifdef _OPENMP
    if (team.n_threads > 1 && n_chunks > 1) {
#pragma omp parallel for num_threads(std::min<int64_t>(team.n_threads, n_chunks)) \
    schedule(dynamic, 1)
        for (int64_t c = 0; c < n_chunks; ++c) f(c);
        return;
    }
#endif
    for (int64_t c = 0; c < n_chunks; ++c) f(c);
}

// [begin, end) of chunk c when n_items in units of `unit` are cut so that every chunk has about the
// same `offset` (work before item i)
template <class Offset>
int64_t balanced_begin(int64_t c, int64_t n_chunks, int64_t n_items, int64_t unit,
                       Offset&& offset) {
    if (c <= 0) return 0;
    if (c >= n_chunks) return n_items;
    const double target = double(offset(n_items)) * double(c) / double(n_chunks);
    int64_t lo = 0, hi = (n_items + unit - 1) / unit;
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if (double(offset(std::min(mid * unit, n_items))) < target)
            lo = mid + 1;
        else
            hi = mid;
    }
    return std::min(lo * unit, n_items);
}

// n uninitialised numbers on a cache-line boundary: a row of 64 bytes is then one line, not two
struct FreeAligned {
    template <class U>
    void operator()(U* p) const {
        ::operator delete[](p, std::align_val_t(64));
    }
};
template <class U>
using Block = std::unique_ptr<U[], FreeAligned>;
template <class U>
Block<U> new_block(size_t n) {
    return Block<U>(static_cast<U*>(
        ::operator new[](std::max<size_t>(n, 1) * sizeof(U), std::align_val_t(64))));
}

}  // namespace fh
