// What rows carry, and what is computed from predictions without reading X: terms of the losses,
// and their sums.
#pragma once
#include <type_traits>
#include <vector>

#include "losses.hpp"
#include "parallel.hpp"
#include "views.hpp"

namespace fh {

// A loss over a block of rows, as pointers: what losses.hpp lists, or (the same shape) what a user
// compiled. `a` are its parameters.
struct LossTable {
    void (*value_d1_of)(int64_t n, const double* y, const double* z, const double* a, double* value,
                        double* d1) = nullptr;
    void (*derivative_of)(int order, int64_t n, const double* y, const double* z, const double* a,
                          double* out) = nullptr;
};
struct Loss : LossTable {
    double a[2] = {0.0, 0.0};
    int n_classes = 1;  // more: the multinomial loss, whose unit of work is n_classes columns side
                        // by side; the table is not used
    LossTable other;  // of a mix: weight * this one + (1 - weight) * other. Without one weight is 1
    double other_a[2] = {0.0, 0.0};
    double weight = 1.0;
    void value_d1(int64_t n, const double* y, const double* z, double* value, double* d1) const {
        value_d1_of(n, y, z, a, value, d1);
        if (weight == 1.0) return;
        thread_local std::vector<double> other_value, other_d1;
        other_value.resize(n);
        other_d1.resize(n);
        other.value_d1_of(n, y, z, other_a, other_value.data(), other_d1.data());
        mix(n, other_value.data(), value);
        mix(n, other_d1.data(), d1);
    }
    void derivative(int order, int64_t n, const double* y, const double* z, double* out) const {
        derivative_of(order, n, y, z, a, out);
        if (weight == 1.0) return;
        thread_local std::vector<double> others;
        others.resize(n);
        other.derivative_of(order, n, y, z, other_a, others.data());
        mix(n, others.data(), out);
    }

private:
    void mix(int64_t n, const double* others, double* out) const {
        for (int64_t i = 0; i < n; ++i) out[i] = weight * out[i] + (1.0 - weight) * others[i];
    }
};

template <class L>
struct LossBlock {
    FH_CLONES static void value_d1(int64_t n, const double* y, const double* z,
                                   const double* parameters, double* value, double* d1) {
        const double a[2] = {parameters[0], parameters[1]};
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) L::value_d1(y[i], z[i], a, value[i], d1[i]);
    }
    FH_CLONES static void d2(int64_t n, const double* y, const double* z, const double* parameters,
                             double* out) {
        const double a[2] = {parameters[0], parameters[1]};
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) out[i] = L::d2(y[i], z[i], a);
    }
    static void derivative(int order, int64_t n, const double* y, const double* z, const double* a,
                           double* out) {
        if (order == 2) return d2(n, y, z, a, out);
        for (int64_t i = 0; i < n; ++i)
            out[i] = order == 0   ? L::value(y[i], z[i], a)
                     : order == 1 ? L::d1(y[i], z[i], a)
                                  : L::d3(y[i], z[i], a);
    }
    static constexpr LossTable table() { return {value_d1, derivative}; }
};

// What rows carry beside X: targets, and the weight of every row in every fold: weight[i] where
// mask[i, f] has the bit of the part, else 0. Without weights they are 1, without a mask every row
// trains; part 0 is every row with weight 1. Predictions are z = x w + offset, one number a row or
// n_offsets for the columns of a unit, whose multiple every number of columns is.
struct RowData {
    int64_t n_rows = 0;
    const double* y = nullptr;
    const double* weight = nullptr;
    const uint8_t* mask = nullptr;
    const double* offset = nullptr;
    int n_offsets = 1;
    int n_folds = 1;
    double at(int64_t i, int fold, uint8_t part) const {
        if (part == 0) return 1.0;
        const double s = weight ? weight[i] : 1.0;
        return (mask ? mask[i * n_folds + fold] : 1) & part ? s : 0.0;
    }
};
constexpr uint8_t train_part = 1, held_out_part = 2;

// y repeated for every column of a block of rows, as the loss functions want it
inline void spread(const double* y, int64_t i0, int64_t i1, int m, std::vector<double>& out) {
    out.resize(size_t(i1 - i0) * m);
    for (int64_t i = i0; i < i1; ++i)
        for (int j = 0; j < m; ++j) out[(i - i0) * m + j] = y[i];
}

// s * (derivative of the loss of this order) at predictions Z (n, m), in the rows of a part.
// Reads no X. Of the multinomial loss orders 2 and 3 are s p, from which all that is needed of them
// follows. Here of rows i0..i1, with the Z of these.
inline void terms_of_block(const RowData& rows, const Loss& loss, int order, uint8_t part,
                           const int* fold, int m, int64_t i0, int64_t i1, const double* Z,
                           double* out) {
    const int K = loss.n_classes;
    if (K > 1) {
        const Softmax::Target target(K, loss.a);
        for (int64_t i = i0; i < i1; ++i)
            for (int j = 0; j < m; j += K) {
                const double *z = Z + (i - i0) * m + j, w = rows.at(i, fold[j], part);
                double* o = out + (i - i0) * m + j;
                if (order == 0) {
                    const double v = Softmax::value(K, rows.y[i], z, loss.a, o);
                    for (int e = 0; e < K; ++e) o[e] = e == 0 && w != 0.0 ? w * v : 0.0;
                    continue;
                }
                Softmax::probabilities(K, z, o);
                if (order == 1) target.subtract_from(K, rows.y[i], o);
                for (int e = 0; e < K; ++e) o[e] = w != 0.0 ? w * o[e] : 0.0;
            }
        return;
    }
    thread_local std::vector<double> yy;
    spread(rows.y, i0, i1, m, yy);
    loss.derivative(order, (i1 - i0) * m, yy.data(), Z, out);
    for (int64_t i = i0; i < i1; ++i)
        for (int j = 0; j < m; ++j, ++out) {
            const double w = rows.at(i, fold[j], part);
            *out = w != 0.0 ? w * *out : 0.0;
        }
}

// out (n, m) from Z (n, m), or from the listed columns of Z (n, ld)
inline void row_terms(Team& team, const RowData& rows, const Loss& loss, int order, uint8_t part,
                      const int* fold, int m, const double* Z, double* out,
                      const int* columns = nullptr, int ld = 0) {
    const int64_t n = rows.n_rows;
    const int64_t B = 256, n_blocks = (n + B - 1) / B,
                  n_chunks = n * m < 16384 ? 1 : team.n_threads;
    parallel_chunks(team, n_chunks, [&](int64_t c) {
        std::vector<double> some;
        for (int64_t b = n_blocks * c / n_chunks; b < n_blocks * (c + 1) / n_chunks; ++b) {
            const int64_t i0 = b * B, i1 = std::min(n, i0 + B);
            const double* z = Z + i0 * m;
            if (columns) {
                some.resize(size_t(B) * m);
                for (int64_t i = i0; i < i1; ++i)
                    for (int j = 0; j < m; ++j) some[(i - i0) * m + j] = Z[i * ld + columns[j]];
                z = some.data();
            }
            terms_of_block(rows, loss, order, part, fold, m, i0, i1, z, out + i0 * m);
        }
    });
}

// Terms of all rows: values (n, m), or what they are made of, block by block: predictions Z (n, m).
struct RowTerms {
    int m = 0;
    const double* values = nullptr;  // or null
    const RowData* rows = nullptr;
    const Loss* loss = nullptr;
    int order = 0;
    uint8_t part = train_part;
    const int* fold = nullptr;
    const double* Z = nullptr;

    const double* block(int64_t i0, int64_t i1, std::vector<double>& room) const {
        if (values) return values + i0 * m;
        room.resize(size_t(i1 - i0) * m);
        terms_of_block(*rows, *loss, order, part, fold, m, i0, i1, Z + i0 * m, room.data());
        return room.data();
    }
};

// sums (m) of s * loss over the rows of a part, from predictions Z (n, m). Reads no X.
inline void loss_sum(Team& team, const RowData& rows, const Loss& loss, uint8_t part,
                     const int* fold, int m, const double* Z, double* sums) {
    const int64_t n = rows.n_rows;
    const double* y = rows.y;
    const int64_t B = 256, n_blocks = (n + B - 1) / B,
                  n_chunks = n * m < 16384 ? 1 : team.n_threads;
    std::vector<double> parts(size_t(n_blocks) * m);
    parallel_chunks(team, n_chunks, [&](int64_t c) {
        std::vector<double> yy, value, d1;
        const int K = loss.n_classes;
        for (int64_t b = n_blocks * c / n_chunks; b < n_blocks * (c + 1) / n_chunks; ++b) {
            const int64_t i0 = b * B, i1 = std::min(n, i0 + B);
            if (K > 1) {
                d1.resize(K);
                for (int64_t i = i0; i < i1; ++i)
                    for (int j = 0; j < m; j += K) {
                        const double w = rows.at(i, fold[j], part);
                        if (w != 0.0)
                            parts[b * m + j] +=
                                w * Softmax::value(K, y[i], Z + i * m + j, loss.a, d1.data());
                    }
                continue;
            }
            spread(y, i0, i1, m, yy);
            value.resize(yy.size());
            d1.resize(yy.size());
            loss.value_d1((i1 - i0) * m, yy.data(), Z + i0 * m, value.data(), d1.data());
            for (int64_t i = i0; i < i1; ++i)
                for (int j = 0; j < m; ++j) {
                    const double w = rows.at(i, fold[j], part);
                    if (w != 0.0) parts[b * m + j] += w * value[(i - i0) * m + j];
                }
        }
    });
    for (int j = 0; j < m; ++j) {
        sums[j] = 0.0;
        for (int64_t b = 0; b < n_blocks; ++b) sums[j] += parts[b * m + j];
    }
}

}  // namespace fh
