// X' R without a transpose of X, for where memory is short: every product is added by an atomic in
// fixed point, where the order of additions changes no bit. With B_j >= max |x_ij r_ij| in column j
// and fewer than 2^`log2_n` additions, a product is q1 B 2^(log2_n - 62) + q2 B 2^(2 log2_n - 124)
// with integers q1, q2 whose sums stay below 2^62: finer than double for all but entries 2^-30
// times smaller than the largest. It costs two atomics for every entry and column, beside 12 bytes
// read. The first columns, the most frequent where they are renumbered, are added up in shared
// memory first: every row has some of them, and all blocks would queue at their addresses.
#include "columns.cuh"
#include "epilogue.cuh"

typedef FH_VALUE Value;
typedef FH_INDEX Index;

constexpr int n_shared = 256;  // sums of frequent columns that a block keeps

namespace {

#ifdef FH_HOST
inline void atomic_add(i64* at, i64 v) {
    *at = i64((unsigned long long)*at + (unsigned long long)v);
}
#else
__device__ inline void atomic_add(i64* at, i64 v) {
    atomicAdd((unsigned long long*)at, (unsigned long long)v);
}
#endif

}  // namespace

// out (n) = largest |x| of every row
extern "C" __global__ void largest_in_rows(i64 n, const i64* indptr, const Value* data,
                                           double* out) {
    for (i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x; i < n;
         i += i64(gridDim.x) * blockDim.x) {
        double largest = 0.0;
        for (i64 k = indptr[i]; k < indptr[i + 1]; ++k)
            largest = Max()(largest, data[k] < 0 ? -double(data[k]) : double(data[k]));
        out[i] = largest;
    }
}

// bound[b m + j] = largest |x_ij r_ij| of rows of block b, from row_max (n) of |x|; NaN where one
// is not finite
extern "C" __global__ void row_bounds(i64 n, int m, const double* row_max, const double* R,
                                      int is_squared, double* bound, const int* n_active) {
    if (n_active && *n_active == 0) return;
    column_sums<1, Max>(n, m, bound, [&](i64 i, int j, double* s) {
        const double r = R[i * m + j],
                     v = r == 0.0 ? 0.0 : r * row_max[i] * (is_squared ? row_max[i] : 1.0);
        s[0] = Max()(s[0], v < 0.0 ? -v : v);
    });
}

// unit[j]: the power of two that q1 counts in, from the bounds of n_parts blocks; 0: all products
// are 0, NaN: one is not finite. One block.
extern "C" __global__ void fixed_units(int n_parts, int m, int log2_n, const double* bound,
                                       double* unit, const int* n_active) {
    if (n_active && *n_active == 0) return;
    column_sums<1, Max>(n_parts, m, unit,
                        [&](i64 k, int j, double* s) { s[0] = Max()(s[0], bound[k * m + j]); });
    __syncthreads();
    for (int j = threadIdx.x; j < m; j += blockDim.x) {
        const double largest = unit[j];
        if (largest - largest != 0.0) unit[j] = largest - largest;
        if (largest - largest != 0.0 || largest == 0.0) continue;
        int exponent = 0;
        frexp(largest, &exponent);
        exponent += log2_n - 62;
        unit[j] =
            ldexp(1.0, exponent < -900
                           ? -900
                           : exponent);  // -900: a finer resolution than its own is a number still
    }
}

// sums (n_cols, m, 2) += X' R in fixed point, for the row blocks and row segments of X
extern "C" __global__ void scatter(const i64* indptr, const Index* indices, const Value* data,
                                   i64 n_cols, const i64* blocks, i64 n_blocks, const i64* segments,
                                   int m, int C, int log2_n, int is_squared, const double* R,
                                   const double* unit, i64* sums, const int* n_active) {
    __shared__ i64 frequent[2 * n_shared];
    if (n_active && *n_active == 0) return;
    for (int k = threadIdx.x; k < 2 * n_shared; k += blockDim.x) frequent[k] = 0;
    __syncthreads();
    const i64 b = blockIdx.x, n_frequent = n_shared / m < n_cols ? n_shared / m : n_cols;
    const bool is_block = b < n_blocks;
    const i64* segment = segments + 4 * (b - n_blocks);
    const i64 r0 = is_block ? blocks[2 * b] : segment[0],
              r1 = is_block ? blocks[2 * b + 1] : r0 + 1;
    const i64 mean = (indptr[r1] - indptr[r0]) / (r1 - r0);
    int E = 1;
    while (2 * E * C <= FH_WARP && 4 * E < mean) E *= 2;
    if (!is_block) E = blockDim.x / C;
    const int t = threadIdx.x, G = E * C, n_groups = blockDim.x / G, e = t % G / C, c = t % C;
    const double finer = ldexp(1.0, 62 - log2_n);
    for (i64 row = r0 + t / G; row < r1 && t / G < n_groups; row += n_groups) {
        const i64 first = indptr[row], begin = is_block ? first : segment[1],
                  end = is_block ? indptr[row + 1] : segment[2];
        for (int j = c; j < m; j += C) {
            const double r = R[row * m + j], u = unit[j];
            if (r == 0.0 || !(u > 0.0)) continue;  // held out of this column
            const double inverse = 1.0 / u;        // exact: a power of two
            for (i64 k = begin + e; k < end; k += E) {
                double x = double(data[k]);
                if (is_squared) x *= x;
                const double v = x * r * inverse, q1 = rint(v);
                const i64 column = indices ? i64(indices[k]) : k - first;
                const i64 at = (column * m + j) * 2, q2 = i64(rint((v - q1) * finer));
                if (column < n_frequent) {  // two branches: through one pointer to either memory
                                            // the compiler makes atomics that wait for an answer
                    atomic_add(frequent + at, i64(q1));
                    atomic_add(frequent + at + 1, q2);
                } else {
                    atomic_add(sums + at, i64(q1));
                    atomic_add(sums + at + 1, q2);
                }
            }
        }
    }
    __syncthreads();
    for (int k = t; k < 2 * m * n_frequent; k += blockDim.x)
        if (frequent[k] != 0) atomic_add(sums + k, frequent[k]);
}

// out (n_cols, m) from the sums in fixed point, with the epilogue of a gather
extern "C" __global__ void from_fixed(i64 n_cols, int m, int log2_n, const i64* sums,
                                      const double* unit, FH_EPILOGUE, const int* n_active) {
    if (n_active && *n_active == 0) return;
    const Epilogue epilogue = {shift, scale, scale_of, n_scale, add, add_of, n_add, U, out, m};
    const double finer = ldexp(1.0, log2_n - 62);
    for (i64 k = i64(blockIdx.x) * blockDim.x + threadIdx.x; k < n_cols * m;
         k += i64(gridDim.x) * blockDim.x) {
        const int j = int(k % m);
        epilogue(k / m, j,
                 unit[j] > 0.0 || unit[j] == 0.0
                     ? (double(sums[2 * k]) + double(sums[2 * k + 1]) * finer) * unit[j]
                     : unit[j]);
    }
}
