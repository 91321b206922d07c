// Products with the Hessian H = X' diag(C) X + diag(lam): the data's part, wherever it comes from,
// and the strengths.
#pragma once
#include <utility>
#include <vector>

#include "cg.hpp"

namespace fh {

// Column j of the coefficients has the strengths lam[:, lam_of[j]], lam (n_coef, n_lam)
struct Strengths {
    const double* lam;
    int n_lam;
    const int* lam_of;
    double at(int64_t k, int column) const { return lam[k * n_lam + lam_of[column]]; }
};

// H d from the data's part: the strengths are added where a block of features is complete.
template <class U>
ProductOf<U> plus_strengths(ProductOf<U> of_data, const Strengths& strengths) {
    if (!of_data) return nullptr;
    return [of_data = std::move(of_data), strengths](const int* cols, int m, const U* d, U* out,
                                                     const Epilogue& epilogue) {
        const double* lam = strengths.lam;
        const int n_lam = strengths.n_lam;
        std::vector<int> l(m);
        for (int j = 0; j < m; ++j) l[j] = strengths.lam_of[cols[j]];
        of_data(cols, m, d, out, [&](int64_t b, int64_t k0, int64_t k1) {
            with_width(m, [&](auto width) {
                constexpr int M = decltype(width)::value;
                const int m_ = M ? M : m;
                if (n_lam == 1)
                    for (int64_t k = k0; k < k1; ++k)
                        for (int j = 0; j < m_; ++j) out[k * m_ + j] += U(lam[k]) * d[k * m_ + j];
                else
                    for (int64_t k = k0; k < k1; ++k)
                        for (int j = 0; j < m_; ++j)
                            out[k * m_ + j] += U(lam[k * n_lam + l[j]]) * d[k * m_ + j];
            });
            if (epilogue) epilogue(b, k0, k1);
        });
    };
}
inline Product plus_strengths(const Product& of_data, const Strengths& strengths) {
    return {plus_strengths<double>(of_data.in_double, strengths),
            plus_strengths<float>(of_data.in_float, strengths)};
}

// The data's part X' diag(C) X of the matrix here, C (n, n_c K) with the curvature c_of[column]
template <class U>
ProductOf<U> data_product_in(Matrix& X, Team& team, const double* C, int n_c, int K,
                             const int* c_of) {
    return [=, &X, &team](const int* cols, int m, const U* d, U* out, const Epilogue& epilogue) {
        std::vector<int> c(m);
        for (int j = 0; j < m; ++j) c[j] = c_of[cols[j]];
        hvp<U>(X, team, C, n_c, K, c.data(), m, d, out, epilogue);
    };
}
inline Product data_product(Matrix& X, Team& team, const double* C, int n_c, int K,
                            const int* c_of) {
    return {data_product_in<double>(X, team, C, n_c, K, c_of),
            data_product_in<float>(X, team, C, n_c, K, c_of)};
}

}  // namespace fh
