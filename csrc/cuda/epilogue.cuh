// The end of a pass for one number: what the passes with a transpose and those without share.
#pragma once

// What becomes of a finished sum z of (row, column): out = scale (z + shift) + add U. Null pointers
// leave out their part.
struct Epilogue {
    const double* shift;  // (m): the intercept
    const double* scale;
    const int* scale_of;
    int n_scale;  // (n_rows, n_scale), column scale_of[j] of it: curvature
    const double* add;
    const int* add_of;
    int n_add;  // (n_rows, n_add): strengths, times U
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

#define FH_EPILOGUE                                                                                \
    const double *shift, const double *scale, const int *scale_of, int n_scale, const double *add, \
        const int *add_of, int n_add, const double *U, double *out
