// Threads: the only file that knows them. Work is cut into chunks; whoever sums over chunks does so
// in their order, so that the result does not depend on which thread ran what.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>
#ifdef _OPENMP
#include <omp.h>
#endif
#ifndef _WIN32
#include <pthread.h>
#endif

namespace fh {

// Protects what has to be whole when the process forks. It is held for moments, and never by who
// waits for Python.
inline std::mutex& fork_guard() {
    static std::mutex mutex;
    return mutex;
}
// by which this process has come from that which loaded the kernels
inline int& n_forks() {
    static int n = 0;
    return n;
}
// libgomp hangs in the child of a fork() when the parent has run a parallel region: such a child
// works on one thread.
inline bool is_forked_child() { return n_forks() > 0; }
inline void watch_fork() {
#ifndef _WIN32
    pthread_atfork([] { fork_guard().lock(); }, [] { fork_guard().unlock(); },
                   [] {
                       ++n_forks();
                       fork_guard().unlock();
                   });
#endif
}

// What OMP_NUM_THREADS, or whoever limits this thread, allows; else the cores.
inline int hardware_threads() {
#ifdef _OPENMP
    return is_forked_child() ? 1 : omp_get_max_threads();
#else
    return 1;
#endif
}

// No number that a caller gives makes a process of more threads, or a pass of more private copies.
constexpr int most_threads = 1024;

// How many threads to use, and whom to ask whether to stop. `should_stop` is called by the calling
// thread only.
struct Team {
    int n_threads = 1;
    bool (*should_stop)() = nullptr;
    std::atomic<bool> is_stopped{false};

    Team(int threads, bool (*stop)())
        : n_threads(is_forked_child() ? 1 : std::clamp(threads, 1, most_threads)),
          should_stop(stop) {}
    bool poll() {
        if (!is_stopped.load(std::memory_order_relaxed) && should_stop && should_stop())
            is_stopped = true;
        return is_stopped.load(std::memory_order_relaxed);
    }
};

// The threads that one call runs on: calls from several threads share the cores. Only the cut into
// chunks decides the bits, and that does not depend on this.
class Share {
public:
    // of this process, as Python knows of quotas too
    static std::atomic<int>& n_cores() {
        static std::atomic<int> n{std::max(1, int(std::thread::hardware_concurrency()))};
        return n;
    }
    explicit Share(int64_t n_wanted)
        : n_threads(int(std::clamp<int64_t>(n_cores() - n_busy(), 1, n_wanted))) {
        n_busy().fetch_add(n_threads, std::memory_order_relaxed);
    }
    ~Share() { n_busy().fetch_sub(n_threads, std::memory_order_relaxed); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;
    const int n_threads;

private:
    static std::atomic<int>& n_busy() {
        static std::atomic<int> n{0};
        return n;
    }
};

#ifdef __SANITIZE_THREAD__
// ThreadSanitizer does not see the barriers of libgomp, so that every loop would be a race to it:
// under it the same chunks run on threads of the standard library.
inline bool& is_helper() {
    thread_local bool flag = false;
    return flag;
}
inline bool is_caller() { return !is_helper(); }

template <class F>
void run_chunks(int n_threads, int64_t n_chunks, F&& f) {
    std::atomic<int64_t> next{0};
    auto work = [&] {  // relaxed: one chunk is not ordered after another, so races stay visible
        for (int64_t c; (c = next.fetch_add(1, std::memory_order_relaxed)) < n_chunks;) f(c);
    };
    std::vector<std::thread> helpers;
    for (int i = 1; i < n_threads; ++i)
        helpers.emplace_back([&] {
            is_helper() = true;
            work();
        });
    work();
    for (auto& one : helpers) one.join();
}
#else
// Whether this is the thread that called us, the only one that may ask whether to stop.
inline bool is_caller() {
#ifdef _OPENMP
    return omp_get_thread_num() == 0;
#else
    return true;
#endif
}

template <class F>
void run_chunks([[maybe_unused]] int n_threads, int64_t n_chunks, F&& f) {
#ifdef _OPENMP
    if (n_threads > 1) {
#pragma omp parallel for num_threads(n_threads) schedule(dynamic, 1)
        for (int64_t c = 0; c < n_chunks; ++c) f(c);
        return;
    }
#endif
    for (int64_t c = 0; c < n_chunks; ++c) f(c);
}
#endif

// f(chunk) for chunk = 0 .. n_chunks-1, each taken by whichever thread is free: a neighbour that
// takes a core away for a while delays one chunk. What a chunk throws (memory runs out) is thrown
// here, as no exception may leave a thread.
template <class F>
void parallel_chunks(Team& team, int64_t n_chunks, F&& f) {
    if (n_chunks < 1) return;
    std::exception_ptr error;
    std::atomic<bool> has_error{false};
    const Share share(std::min<int64_t>(team.n_threads, n_chunks));
    run_chunks(share.n_threads, n_chunks, [&](int64_t c) {
        if (has_error.load(std::memory_order_relaxed)) return;
        try {
            f(c);
        } catch (...) {
            if (!has_error.exchange(true)) error = std::current_exception();
        }
    });
    if (error) std::rethrow_exception(error);
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
