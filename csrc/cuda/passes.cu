// The two gathers of every pass over X, for m columns at once: Z = X V over the rows and G = X' R
// over the rows of a stored transpose; and the scatter that takes the place of the second one where
// memory is short. FH_VALUE and FH_INDEX are the types of stored values and column numbers; blocks
// are double.
//
// A pass has to read every stored value and index: 12 bytes an entry (8 with float32 values) over
// the bandwidth of the memory is its floor, and the gathered row of V, 8 m bytes on one or more
// 32-byte sectors, comes from L2 while V fits there (columns renumbered by frequency help). Rows of
// a block of about `tile` entries share its threads: groups of E x C lanes, C columns side by side
// so that a row of V is read coalesced and an index is loaded once for all of them, E entries at a
// time, as many as the mean row of this block is worth. Rows of more than `long_row` entries
// (frequent columns, in the transpose) are cut into segments of at most `tile` entries, a block
// each; their sums are added in a fixed order.
#include "columns.cuh"
#include "epilogue.cuh"

typedef FH_VALUE Value;
typedef FH_INDEX Index;
constexpr int P = FH_PER_LANE;

namespace {

// s[p] += x_k V[index_k, column + p C] for k = e, e + E, ... < n of n entries of a row. Without
// indices column numbers count from `first`, without data every value is 1: dense rows, and the
// column of ones of the intercept. A batch of U entries is loaded before the first of them is used,
// so that a lane waits for the memory twice a batch, not twice an entry; beyond the end the last
// entry takes part with the value 0. X is read once (ldcs), V many times.
template <bool has_indices>
__device__ inline void add_entries(const Index* __restrict__ indices,
                                   const Value* __restrict__ data, i64 first, int n, int e, int E,
                                   int is_squared, const double* __restrict__ V, int m, int column,
                                   int C, double* s) {
    constexpr int U = P > 2 ? 2 : 4;
    for (int k0 = e; k0 < n; k0 += U * E) {
        i64 row[U];
        double x[U];
#pragma unroll
        for (int u = 0; u < U; ++u) {
            const int k = k0 + u * E < n ? k0 + u * E : n - 1;
            row[u] = has_indices ? i64(__ldcs(indices + k)) : first + k;
            x[u] = has_indices || data ? double(__ldcs(data + k)) : 1.0;
        }
#pragma unroll
        for (int u = 0; u < U; ++u) {
            if (is_squared) x[u] *= x[u];
            if (k0 + u * E >= n) x[u] = 0.0;
#pragma unroll
            for (int p = 0; p < P; ++p)
                s[p] += x[u] * V[row[u] * m + (column + p * C < m ? column + p * C : m - 1)];
        }
    }
}

__device__ void gather_rows(const i64* __restrict__ indptr, const Index* indices, const Value* data,
                            i64 r0, i64 r1, int is_squared, const double* V, int C,
                            const Epilogue& epilogue) {
    const int m = epilogue.m, t = threadIdx.x;
    const int mean = int((indptr[r1] - indptr[r0]) / (r1 - r0));
    int E = 1;
    while (2 * E * C <= FH_WARP && 4 * E < mean) E *= 2;  // about four entries a lane
    const int G = E * C, n_groups = blockDim.x / G, e = t % G / C, c = t % C;
    for (i64 r = r0; r < r1; r += n_groups) {  // every lane of a warp takes part in its shuffles
        const i64 row = r + t / G;
        const bool is_row = row < r1 && t / G < n_groups;
        const i64 begin = is_row ? indptr[row] : 0;
        const int n = is_row ? int(indptr[row + 1] - begin) : 0;
        for (int j0 = 0; j0 < m; j0 += C * P) {
            double s[P] = {};
            if (indices)
                add_entries<true>(indices + begin, data + begin, 0, n, e, E, is_squared, V, m,
                                  j0 + c, C, s);
            else
                add_entries<false>(nullptr, data + begin, 0, n, e, E, is_squared, V, m, j0 + c, C,
                                   s);
#pragma unroll
            for (int p = 0; p < P; ++p) {
                for (int far = C; far < G; far *= 2)
                    s[p] += __shfl_xor_sync(0xffffffffu, s[p], far);
                const int j = j0 + c + p * C;
                if (is_row && e == 0 && j < m) epilogue(row, j, s[p]);
            }
        }
    }
}

__device__ void gather_segment(const i64* __restrict__ indptr, const Index* indices,
                               const Value* data, i64 n_rows, const i64* segment, int is_squared,
                               const double* V, int C, const Epilogue& epilogue, double* parts) {
    __shared__ double sums[FH_MAX_THREADS];
    const int m = epilogue.m, t = threadIdx.x, c = t % C, e = t / C, E = blockDim.x / C;
    const i64 row = segment[0], begin = segment[1], part = segment[3];
    const int n = int(segment[2] - begin);
    const bool is_ones = row == n_rows;
    const i64 first = is_ones ? begin : begin - indptr[row];
    for (int j0 = 0; j0 < m; j0 += C * P) {
        double s[P] = {};
        if (indices && !is_ones)
            add_entries<true>(indices + begin, data + begin, 0, n, e, E, is_squared, V, m, j0 + c,
                              C, s);
        else
            add_entries<false>(nullptr, is_ones ? nullptr : data + begin, first, n, e, E,
                               is_squared, V, m, j0 + c, C, s);
#pragma unroll
        for (int p = 0; p < P; ++p) {
            const int j = j0 + c + p * C;
            sums[t] = s[p];
            add_lanes(sums, t, C, e, E);
            if (e == 0 && j < m) {
                if (part < 0)
                    epilogue(row, j, sums[t]);
                else
                    parts[part * m + j] = sums[t];
            }
            __syncthreads();
        }
    }
}

}  // namespace

// blocks (n_blocks, 2): first and end row. segments (., 4): row, first and end entry, part or -1
// for all of the row. Row n_rows is the column of ones. C columns side by side, a power of two.
// n_active: nothing is done where it is 0. (64 registers: with fewer, for 5 blocks a
// multiprocessor, it spills; 4 blocks of 8 loads a lane are twice what the memory's latency takes
// at full bandwidth.)
extern "C" __global__ void __launch_bounds__(256, 4)
    gather(const i64* indptr, const Index* indices, const Value* data, i64 n_rows,
           const i64* blocks, i64 n_blocks, const i64* segments, int m, int C, int is_squared,
           const double* V, FH_EPILOGUE, double* parts, const int* n_active) {
    if (n_active && *n_active == 0) return;
    const Epilogue epilogue = {shift, scale, scale_of, n_scale, add, add_of, n_add, U, out, m};
    const i64 b = blockIdx.x;
    if (b < n_blocks)
        gather_rows(indptr, indices, data, blocks[2 * b], blocks[2 * b + 1], is_squared, V, C,
                    epilogue);
    else
        gather_segment(indptr, indices, data, n_rows, segments + 4 * (b - n_blocks), is_squared, V,
                       C, epilogue, parts);
}

// The sums of rows in several segments, a block each. long_rows (., 3): row, first and end part.
extern "C" __global__ void add_segments(const i64* long_rows, int m, const double* parts,
                                        FH_EPILOGUE, const int* n_active) {
    __shared__ double sums[FH_MAX_THREADS];
    if (n_active && *n_active == 0) return;
    const Epilogue epilogue = {shift, scale, scale_of, n_scale, add, add_of, n_add, U, out, m};
    const i64* row = long_rows + 3 * blockIdx.x;
    const int n_threads = blockDim.x, t = threadIdx.x;
    for (int j0 = 0; j0 < m; j0 += n_threads) {
        const int width = m - j0 < n_threads ? m - j0 : n_threads, n_lanes = n_threads / width,
                  lane = t / width, j = j0 + t % width;
        double s = 0.0;
        if (lane < n_lanes)
            for (i64 k = row[1] + lane; k < row[2]; k += n_lanes) s += parts[k * m + j];
        sums[t] = s;
        add_lanes(sums, t, width, lane, n_lanes);
        if (lane == 0) epilogue(row[0], j, sums[t]);
        __syncthreads();
    }
}
