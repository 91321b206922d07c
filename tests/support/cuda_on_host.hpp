// What a .cu file needs to be compiled by g++ and run on the CPU: the blocks of a launch run one
// after the other, the threads of a block as fibers that take turns. A fiber waits at __syncthreads
// for all threads that still run, in a shuffle for those of its warp; where these wait for each
// other for ever, or some have ended, the launch fails with a sentence. So the indices, sums and
// barriers of the kernels are tested, if not their speed.
#pragma once
#ifdef __APPLE__  // has contexts for those who ask
#define _XOPEN_SOURCE 700
#define _DARWIN_C_SOURCE
#endif
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <tuple>
#include <utility>
#include <vector>
#include <ucontext.h>

#define FH_HOST
#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)
template <class T>
inline T __ldcs(const T* p) {
    return *p;
}

struct Dim {
    int x;
};
static Dim blockIdx, blockDim, gridDim, threadIdx;

namespace emulated {

enum State { ready, at_barrier, in_shuffle, done };
struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    State state = ready;
    double value[2] =
        {};  // of a shuffle: two, since a fiber may be in the next one before the others have read
    int n_shuffles = 0;
};
static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static std::function<void()> body;
static bool is_stuck = false;

inline void wait(State state) {
    Fiber& f = fibers[threadIdx.x];
    f.state = state;
    swapcontext(&f.context, &scheduler);
}
inline void run_fiber() {
    body();
    fibers[threadIdx.x].state = done;
}
template <class Range>
bool release(State state, Range first,
             Range last) {  // all that still run are in this state: on they go
    bool any = false;
    for (auto f = first; f != last; ++f) {
        if (f->state != state && f->state != done) return false;
        any |= f->state == state;
    }
    for (auto f = first; any && f != last; ++f)
        if (f->state == state) f->state = ready;
    return any;
}
inline void run_block(int warp) {
    const int n = blockDim.x;
    if (n == 1) {
        threadIdx.x = 0;
        body();
        return;
    }
    if (int(fibers.size()) < n) fibers.resize(n);
    for (int t = 0; t < n; ++t) {
        Fiber& f = fibers[t];
        f.stack.resize(1 << 16);
        f.state = ready;
        f.n_shuffles = 0;
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack.data();
        f.context.uc_stack.ss_size = f.stack.size();
        f.context.uc_link = &scheduler;
        makecontext(&f.context, run_fiber, 0);
    }
    for (;;) {
        bool ran = false, all_done = true;
        for (int t = 0; t < n; ++t) {
            if (fibers[t].state == ready) {
                threadIdx.x = t;
                swapcontext(&scheduler, &fibers[t].context);
                ran = true;
            }
            all_done &= fibers[t].state == done;
        }
        if (all_done) return;
        bool released = false;
        for (int t = 0; t < n; t += warp)
            released |=
                release(in_shuffle, fibers.begin() + t, fibers.begin() + std::min(n, t + warp));
        if (!released && !ran) released = release(at_barrier, fibers.begin(), fibers.begin() + n);
        if (!released && !ran) {
            is_stuck = true;
            return;
        }
    }
}
template <class... A, size_t... I>
int launch(void (*kernel)(A...), int grid, int block, void** arguments, std::index_sequence<I...>) {
    body = [=] { kernel(*static_cast<std::decay_t<A>*>(arguments[I])...); };
    gridDim.x = grid;
    blockDim.x = block;
    is_stuck = false;
    for (blockIdx.x = 0; blockIdx.x < grid && !is_stuck; ++blockIdx.x) run_block(FH_WARP);
    return is_stuck;
}
template <class... A>
int launch(void (*kernel)(A...), int grid, int block, void** arguments) {
    return launch(kernel, grid, block, arguments, std::index_sequence_for<A...>());
}

}  // namespace emulated

inline void __syncthreads() {
    if (blockDim.x > 1) emulated::wait(emulated::at_barrier);
}
inline double __shfl_xor_sync(unsigned, double v, int far) {
    emulated::Fiber& f = emulated::fibers[threadIdx.x];
    const int turn = f.n_shuffles++ & 1;
    f.value[turn] = v;
    emulated::wait(emulated::in_shuffle);
    return emulated::fibers[threadIdx.x ^ far].value[turn];
}
