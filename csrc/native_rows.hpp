// The rows of a matrix in this memory, as Newton's method sees them.
#pragma once
#include <vector>

#include "newton_cg.hpp"

namespace fh {

struct NativeRows final : RowSpace {
    Matrix& X;
    Team& team;
    const RowData& rows;
    const Loss& loss;
    const int m;
    const int* fold;  // (m) which column of the row weights
    double* Z;        // (n, m) current predictions
    const int64_t n = X.n_rows();
    // (n, a) of the active columns, which only become fewer: their curvature, and once the trial is
    // known its predictions
    Block<double> z1;
    std::vector<int> unit_of;
    std::vector<double> between;  // (n, K)

    NativeRows(Matrix& X, Team& team, const RowData& rows, const Loss& loss, int m, const int* fold,
               double* Z)
        : X(X), team(team), rows(rows), loss(loss), m(m), fold(fold), Z(Z) {}

    std::vector<int> folds(const std::vector<int>& columns) const {
        std::vector<int> found;
        for (int column : columns) found.push_back(fold[column]);
        return found;
    }

    void start(const double* W, LossSums sums, double* grad) override {
        loss_grad(X, team, rows, loss, train_part, fold, m, W, sums, grad, Z);
    }
    void evaluate(const std::vector<int>& columns, const double* w, LossSums sums,
                  double* grad) override {
        loss_grad(X, team, rows, loss, train_part, folds(columns).data(), int(columns.size()), w,
                  sums, grad, z1.get());
    }
    void keep(const std::vector<int>& columns, const std::vector<char>& is_taken) override {
        put_columns(team, n, m, columns, is_taken, z1.get(), Z);
    }
    Product curve(const std::vector<int>& columns) override {
        const int a = int(columns.size()), K = loss.n_classes;
        if (!z1) z1 = new_block<double>(size_t(n) * a);
        row_terms(team, rows, loss, 2, train_part, folds(columns).data(), a, Z, z1.get(),
                  columns.data(), m);
        unit_of.resize(a);
        for (int j = 0; j < a; ++j) unit_of[j] = j / K;
        return data_product(X, team, z1.get(), a / K, K, unit_of.data());
    }
    double sum_along(const std::vector<int>& columns, int j, double t) override {
        const int a = int(columns.size()), K = loss.n_classes, f = columns[j];
        between.resize(size_t(n) * K);
        std::vector<double> sums(K);
        for (int64_t i = 0; i < n; ++i)
            for (int e = 0; e < K; ++e)
                between[i * K + e] = Z[i * m + f + e] + t * (z1[i * a + j + e] - Z[i * m + f + e]);
        loss_sum(team, rows, loss, train_part, fold + f, K, between.data(), sums.data());
        return sums[0];
    }
};

}  // namespace fh
