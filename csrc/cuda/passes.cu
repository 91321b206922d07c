// The two gathers of every pass over X, for m columns at once: Z = X V over the rows and G = X' R over the rows of a stored transpose; and the scatter that
// takes the place of the second one where memory is short. FH_VALUE and FH_INDEX are the types of stored values and column numbers; blocks are double.
//
// A pass has to read every stored value and index: 12 bytes an entry (8 with float32 values) over the bandwidth of the memory is its floor, and the
// gathered row of V, 8 m bytes on one or more 32-byte sectors, comes from L2 while V fits there (columns renumbered by frequency help).
// Rows of a block of about `tile` entries share its threads: groups of E x C lanes, C columns side by side so that a row of V is read coalesced and an
// index is loaded once for all of them, E entries at a time, as many as the mean row of this block is worth. Rows of more than `long_row` entries
// (frequent columns, in the transpose) are cut into segments of at most `tile` entries, a block each; their sums are added in a fixed order.
#include "columns.cuh"

typedef FH_VALUE Value;
typedef FH_INDEX Index;

namespace {

// What becomes of a finished sum z of (row, column): out = scale (z + shift) + add U. Null pointers leave out their part.
struct Epilogue {
    const double* shift;                           // (m): the intercept
    const double* scale; const int* scale_of; int n_scale;  // (n_rows, n_scale), column scale_of[j] of it: curvature
    const double* add; const int* add_of; int n_add;        // (n_rows, n_add): strengths, times U
    const double* U;
    double* out;
    int m;
    __device__ void operator()(i64 row, int j, double z) const {
        if (shift) z += shift[j];
        if (scale) z *= scale[row * n_scale + scale_of[j]];
        if (add) z += add[row * n_add + add_of[j]] * U[row * m + j];
        out[row * m + j] = z;
    }
};

// s[p] += x_k V[index_k, column + p C] for the entries begin, begin + step, ... < end. Without indices column numbers count from `first`, without
// data every value is 1: dense rows, and the column of ones of the intercept.
template <int P>
__device__ inline void add_entries(const Index* __restrict__ indices, const Value* __restrict__ data, i64 first, i64 begin, i64 end, i64 step,
                                   int is_squared, const double* __restrict__ V, int m, int column, int C, double* s) {
#pragma unroll 4
    for (i64 k = begin; k < end; k += step) {
        double x = data ? double(data[k]) : 1.0;
        const double* v = V + (indices ? i64(indices[k]) : k - first) * m + column;
        if (is_squared) x *= x;
#pragma unroll
        for (int p = 0; p < P; ++p)
            if (column + p * C < m) s[p] += x * v[p * C];
    }
}

template <int P>
__device__ void gather_rows(const i64* __restrict__ indptr, const Index* indices, const Value* data, i64 r0, i64 r1, int is_squared, const double* V,
                            int C, const Epilogue& epilogue) {
    const int m = epilogue.m, t = threadIdx.x;
    const i64 mean = (indptr[r1] - indptr[r0]) / (r1 - r0);
    int E = 1;
    while (2 * E * C <= FH_WARP && 4 * E < mean) E *= 2;       // about four entries a lane
    const int G = E * C, n_groups = blockDim.x / G, e = t % G / C, c = t % C;
    for (i64 r = r0; r < r1; r += n_groups) {                  // every lane of a warp takes part in its shuffles
        const i64 row = r + t / G;
        const bool is_row = row < r1 && t / G < n_groups;
        const i64 begin = is_row ? indptr[row] : 0, end = is_row ? indptr[row + 1] : 0;
        for (int j0 = 0; j0 < m; j0 += C * P) {
            double s[P] = {};
            add_entries<P>(indices, data, begin, begin + e, end, E, is_squared, V, m, j0 + c, C, s);
#pragma unroll
            for (int p = 0; p < P; ++p) {
                for (int far = C; far < G; far *= 2) s[p] += __shfl_xor_sync(0xffffffffu, s[p], far);
                const int j = j0 + c + p * C;
                if (is_row && e == 0 && j < m) epilogue(row, j, s[p]);
            }
        }
    }
}

template <int P>
__device__ void gather_segment(const i64* __restrict__ indptr, const Index* indices, const Value* data, i64 n_rows, const i64* segment, int is_squared,
                               const double* V, int C, const Epilogue& epilogue, double* parts) {
    __shared__ double sums[FH_MAX_THREADS];
    const int m = epilogue.m, t = threadIdx.x, c = t % C, e = t / C, E = blockDim.x / C;
    const i64 row = segment[0], begin = segment[1], end = segment[2], part = segment[3];
    const bool is_ones = row == n_rows;
    for (int j0 = 0; j0 < m; j0 += C * P) {
        double s[P] = {};
        add_entries<P>(is_ones ? nullptr : indices, is_ones ? nullptr : data, is_ones ? 0 : indptr[row], begin + e, end, E, is_squared, V, m, j0 + c, C, s);
#pragma unroll
        for (int p = 0; p < P; ++p) {
            const int j = j0 + c + p * C;
            sums[t] = s[p];
            add_lanes(sums, t, C, e, E);
            if (e == 0 && j < m) {
                if (part < 0) epilogue(row, j, sums[t]);
                else parts[part * m + j] = sums[t];
            }
            __syncthreads();
        }
    }
}

#ifdef FH_HOST
inline void atomic_add(i64* at, i64 v) { *at = i64((unsigned long long)*at + (unsigned long long)v); }
#else
__device__ inline void atomic_add(i64* at, i64 v) { atomicAdd((unsigned long long*)at, (unsigned long long)v); }
#endif

}  // namespace

#define FH_EPILOGUE \
    const double* shift, const double* scale, const int* scale_of, int n_scale, const double* add, const int* add_of, int n_add, const double* U, double* out

// blocks (n_blocks, 2): first and end row. segments (., 4): row, first and end entry, part or -1 for all of the row. Row n_rows is the column of ones.
// C columns side by side, a power of two. n_active: nothing is done where it is 0.
extern "C" __global__ void gather(const i64* indptr, const Index* indices, const Value* data, i64 n_rows, const i64* blocks, i64 n_blocks,
                                  const i64* segments, int m, int C, int is_squared, const double* V, FH_EPILOGUE, double* parts, const int* n_active) {
    if (n_active && *n_active == 0) return;
    const Epilogue epilogue = {shift, scale, scale_of, n_scale, add, add_of, n_add, U, out, m};
    const i64 b = blockIdx.x;
    const int n_each = (m + C - 1) / C;
    if (b < n_blocks) {
        const i64 r0 = blocks[2 * b], r1 = blocks[2 * b + 1];
        if (n_each == 1) gather_rows<1>(indptr, indices, data, r0, r1, is_squared, V, C, epilogue);
        else if (n_each == 2) gather_rows<2>(indptr, indices, data, r0, r1, is_squared, V, C, epilogue);
        else gather_rows<4>(indptr, indices, data, r0, r1, is_squared, V, C, epilogue);
        return;
    }
    const i64* segment = segments + 4 * (b - n_blocks);
    if (n_each == 1) gather_segment<1>(indptr, indices, data, n_rows, segment, is_squared, V, C, epilogue, parts);
    else gather_segment<2>(indptr, indices, data, n_rows, segment, is_squared, V, C, epilogue, parts);
}

// The sums of rows in several segments, a block each. long_rows (., 3): row, first and end part.
extern "C" __global__ void add_segments(const i64* long_rows, int m, const double* parts, FH_EPILOGUE, const int* n_active) {
    __shared__ double sums[FH_MAX_THREADS];
    if (n_active && *n_active == 0) return;
    const Epilogue epilogue = {shift, scale, scale_of, n_scale, add, add_of, n_add, U, out, m};
    const i64 *row = long_rows + 3 * blockIdx.x;
    const int n_threads = blockDim.x, t = threadIdx.x;
    for (int j0 = 0; j0 < m; j0 += n_threads) {
        const int width = m - j0 < n_threads ? m - j0 : n_threads, n_lanes = n_threads / width, lane = t / width, j = j0 + t % width;
        double s = 0.0;
        if (lane < n_lanes)
            for (i64 k = row[1] + lane; k < row[2]; k += n_lanes) s += parts[k * m + j];
        sums[t] = s;
        add_lanes(sums, t, width, lane, n_lanes);
        if (lane == 0) epilogue(row[0], j, sums[t]);
        __syncthreads();
    }
}

// ---- X' R without a transpose: every product is added by an atomic in fixed point, where the order of additions changes no bit.
// With B_j >= max |x_ij r_ij| in column j and fewer than 2^`log2_n` additions, a product is q1 B 2^(log2_n - 62) + q2 B 2^(2 log2_n - 124) with integers q1, q2
// whose sums stay below 2^62: finer than double for all but entries 2^-30 times smaller than the largest. It costs two atomics for every entry
// and column, beside 12 bytes read; frequent columns queue at their own address.

// out (n) = largest |x| of every row
extern "C" __global__ void largest_in_rows(i64 n, const i64* indptr, const Value* data, double* out) {
    for (i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += i64(gridDim.x) * blockDim.x) {
        double largest = 0.0;
        for (i64 k = indptr[i]; k < indptr[i + 1]; ++k) largest = Max()(largest, data[k] < 0 ? -double(data[k]) : double(data[k]));
        out[i] = largest;
    }
}

// bound[b m + j] = largest |x_ij r_ij| of rows of block b, from row_max (n) of |x|; NaN where one is not finite
extern "C" __global__ void row_bounds(i64 n, int m, const double* row_max, const double* R, int is_squared, double* bound, const int* n_active) {
    if (n_active && *n_active == 0) return;
    column_sums<1, Max>(n, m, bound, [&](i64 i, int j, double* s) {
        const double r = R[i * m + j], v = r == 0.0 ? 0.0 : r * row_max[i] * (is_squared ? row_max[i] : 1.0);
        s[0] = Max()(s[0], v < 0.0 ? -v : v);
    });
}

// unit[j]: the power of two that q1 counts in, from the bounds of n_parts blocks; 0: all products are 0, NaN: one is not finite. One block.
extern "C" __global__ void fixed_units(int n_parts, int m, int log2_n, const double* bound, double* unit, const int* n_active) {
    if (n_active && *n_active == 0) return;
    column_sums<1, Max>(n_parts, m, unit, [&](i64 k, int j, double* s) { s[0] = Max()(s[0], bound[k * m + j]); });
    __syncthreads();
    for (int j = threadIdx.x; j < m; j += blockDim.x) {
        const double largest = unit[j];
        if (largest - largest != 0.0) unit[j] = largest - largest;
        if (largest - largest != 0.0 || largest == 0.0) continue;
        int exponent = 0;
        frexp(largest, &exponent);
        exponent += log2_n - 62;
        unit[j] = ldexp(1.0, exponent < -900 ? -900 : exponent);  // -900: a finer resolution than its own is a number still
    }
}

// sums (n_cols, m, 2) += X' R in fixed point, for the row blocks and row segments of X
extern "C" __global__ void scatter(const i64* indptr, const Index* indices, const Value* data, i64 n_cols, const i64* blocks, i64 n_blocks, const i64* segments,
                                   int m, int C, int log2_n, int is_squared, const double* R, const double* unit, i64* sums, const int* n_active) {
    if (n_active && *n_active == 0) return;
    const i64 b = blockIdx.x;
    const bool is_block = b < n_blocks;
    const i64* segment = segments + 4 * (b - n_blocks);
    const i64 r0 = is_block ? blocks[2 * b] : segment[0], r1 = is_block ? blocks[2 * b + 1] : r0 + 1;
    const i64 mean = (indptr[r1] - indptr[r0]) / (r1 - r0);
    int E = 1;
    while (2 * E * C <= FH_WARP && 4 * E < mean) E *= 2;
    if (!is_block) E = blockDim.x / C;
    const int t = threadIdx.x, G = E * C, n_groups = blockDim.x / G, e = t % G / C, c = t % C;
    const double finer = ldexp(1.0, 62 - log2_n);
    if (t / G >= n_groups) return;
    for (i64 row = r0 + t / G; row < r1; row += n_groups) {
        const i64 first = indptr[row], begin = is_block ? first : segment[1], end = is_block ? indptr[row + 1] : segment[2];
        for (int j = c; j < m; j += C) {
            const double r = R[row * m + j], u = unit[j];
            if (r == 0.0 || !(u > 0.0)) continue;              // held out of this column
            const double inverse = 1.0 / u;                    // exact: a power of two
            for (i64 k = begin + e; k < end; k += E) {
                double x = double(data[k]);
                if (is_squared) x *= x;
                const double v = x * r * inverse, q1 = rint(v);
                i64* at = sums + ((indices ? i64(indices[k]) : k - first) * m + j) * 2;
                atomic_add(at, i64(q1));
                atomic_add(at + 1, i64(rint((v - q1) * finer)));
            }
        }
    }
}

// out (n_cols, m) from the sums in fixed point, with the epilogue of a gather
extern "C" __global__ void from_fixed(i64 n_cols, int m, int log2_n, const i64* sums, const double* unit, FH_EPILOGUE, const int* n_active) {
    if (n_active && *n_active == 0) return;
    const Epilogue epilogue = {shift, scale, scale_of, n_scale, add, add_of, n_add, U, out, m};
    const double finer = ldexp(1.0, log2_n - 62);
    for (i64 k = i64(blockIdx.x) * blockDim.x + threadIdx.x; k < n_cols * m; k += i64(gridDim.x) * blockDim.x) {
        const int j = int(k % m);
        epilogue(k / m, j, unit[j] > 0.0 || unit[j] == 0.0 ? (double(sums[2 * k]) + double(sums[2 * k + 1]) * finer) * unit[j] : unit[j]);
    }
}
