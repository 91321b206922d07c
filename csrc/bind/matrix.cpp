// X and the passes that read nothing else.
#include "python.hpp"

namespace {

View csr_view(const Array<int64_t>& indptr, const py::array& indices, const py::array& data,
              int64_t n_cols) {
    const int64_t n_rows = indptr.size() - 1;
    require(indices.size() == data.size() && indptr.at(n_rows) - indptr.at(0) <= data.size(),
            "indptr, indices and data do not fit");
    auto typed = [&](auto value, auto index) -> View {
        using T = decltype(value);
        using I = decltype(index);
        return View(Csr<T, I>{n_rows, n_cols, indptr.data(), static_cast<const I*>(indices.data()),
                              static_cast<const T*>(data.data())});
    };
    const bool is_wide = indices.dtype().equal(py::dtype::of<int64_t>());
    require(is_wide || indices.dtype().equal(py::dtype::of<int32_t>()),
            "indices must be int32 or int64");
    if (data.dtype().equal(py::dtype::of<float>()))
        return is_wide ? typed(float(), int64_t()) : typed(float(), int32_t());
    require(data.dtype().equal(py::dtype::of<double>()), "data must be float32 or float64");
    return is_wide ? typed(double(), int64_t()) : typed(double(), int32_t());
}

View dense_view(const py::array& X) {
    require(X.ndim() == 2 && (X.flags() & py::array::c_style), "X must be a C-ordered matrix");
    if (X.dtype().equal(py::dtype::of<float>()))
        return View(Dense<float>{X.shape(0), X.shape(1), static_cast<const float*>(X.data())});
    require(X.dtype().equal(py::dtype::of<double>()), "X must be float32 or float64");
    return View(Dense<double>{X.shape(0), X.shape(1), static_cast<const double*>(X.data())});
}

using Made = std::unique_ptr<PyMatrix>;

Made make_matrix(View rows, bool has_intercept, double intercept, bool deterministic) {
    auto X = std::make_unique<PyMatrix>();
    X->rows = rows;
    X->has_intercept = has_intercept;
    X->intercept = intercept;
    X->is_deterministic = deterministic;
    return X;
}

// of a transposed copy: CSR arrays or one array
void set_columns(PyMatrix& X, const py::object& transposed) {
    if (transposed.is_none()) return;
    if (py::isinstance<py::tuple>(transposed)) {
        auto t = transposed.cast<py::tuple>();
        X.cols = csr_view(t[0].cast<Array<int64_t>>(), t[1].cast<py::array>(),
                          t[2].cast<py::array>(), X.rows.n_rows);
    } else {
        X.cols = dense_view(transposed.cast<py::array>());
    }
    require(X.cols.n_rows == X.rows.n_cols && X.cols.n_cols == X.rows.n_rows,
            "the transposed copy has another shape");
}

Made from_csr(const Array<int64_t>& indptr, const py::array& indices, const py::array& data,
              int64_t n_cols, bool has_intercept, const py::object& transposed, bool deterministic,
              double intercept) {
    auto X = make_matrix(csr_view(indptr, indices, data, n_cols), has_intercept, intercept,
                         deterministic);
    set_columns(*X, transposed);
    X->owner = py::make_tuple(indptr, indices, data, transposed);
    return X;
}

Made from_dense(const py::array& dense, bool has_intercept, const py::object& transposed,
                bool deterministic, double intercept) {
    auto X = make_matrix(dense_view(dense), has_intercept, intercept, deterministic);
    set_columns(*X, transposed);
    X->owner = py::make_tuple(dense, transposed);
    return X;
}

// the rows of several matrices, whose arrays stay where they are
Made stacked(const py::list& matrices, const py::object& transposed, bool deterministic) {
    require(!matrices.empty(), "there must be a matrix");
    Stack stack;
    for (auto one : matrices) {
        stack.parts.push_back(one.cast<const PyMatrix&>().rows);
        require(stack.parts.back().n_cols == stack.parts.front().n_cols,
                "all matrices must have the same columns");
    }
    const auto& first = matrices[0].cast<const PyMatrix&>();
    auto X = make_matrix(View(), first.has_intercept, first.intercept, deterministic);
    X->stack = std::move(stack);
    X->rows = X->stack.view();
    set_columns(*X, transposed);
    X->owner = py::make_tuple(matrices, transposed);
    return X;
}

// X' (c * (X V)) in the precision of V
template <class U>
Array<U> product(PyMatrix& X, const Doubles& C, const Array<U>& V, int n_classes, int n_threads) {
    X.check_coef(V, "V must have one row a coefficient");
    X.check_rows(C, "the curvature must have one row a row");
    require(n_classes > 0 && C.shape(1) % n_classes == 0,
            "the curvature must have n_classes columns a fold");
    const int m = int(V.shape(1)), n_folds = int(C.shape(1)) / n_classes;
    const std::vector<int> fold = fold_of_columns(m, n_classes, n_folds);
    Array<U> out = matrix<U>(X.n_coef(), m);
    U* o = out.mutable_data();
    const double* c = C.data();
    const U* v = V.data();
    run(n_threads,
        [&](Team& team) { hvp<U>(X, team, c, n_folds, n_classes, fold.data(), m, v, o); });
    return out;
}

// A kernel (X, team, m, input (., m), output (n_out, m))
template <class U, class Kernel>
Array<U> each_column(PyMatrix& X, const Array<U>& in, int64_t n_out, int n_threads, Kernel kernel) {
    const int m = int(in.shape(1));
    Array<U> out = matrix<U>(n_out, m);
    U* o = out.mutable_data();
    const U* i = in.data();
    run(n_threads, [&](Team& team) { kernel(X, team, m, i, o); });
    return out;
}

template <class U>
Array<U> product_with_rows(PyMatrix& X, const Array<U>& V, int n_threads) {
    X.check_coef(V, "V must have one row a coefficient");
    return each_column(X, V, X.n_rows(), n_threads, matvec<U>);
}

template <class U>
Array<U> product_with_columns(PyMatrix& X, const Array<U>& R, int n_threads) {
    X.check_rows(R, "R must have one row a row");
    return each_column(X, R, X.n_coef(), n_threads, rmatvec<U>);
}

// What rows carry beside X in a contraction: an array, or what it would be made of
struct PyTerms {
    Doubles values;  // or the predictions
    std::optional<PyRows> rows;
    Loss loss;
    int order = 0, part = 0;
    std::vector<int> fold;

    RowTerms view() const {
        const int m = int(values.shape(1));
        if (!rows) return {m, values.data()};
        return {m, nullptr, &*rows, &loss, order, uint8_t(part), fold.data(), values.data()};
    }
};

PyTerms terms_of_values(const Doubles& values) {
    require(values.ndim() == 2, "terms must be (n_rows, n_columns)");
    return {values, {}, {}, 0, 0, {}};
}

PyTerms terms_at(const PyRows& rows, const Loss& loss, int order, int part, const Doubles& Z) {
    require(Z.ndim() == 2 && Z.shape(0) == rows.n_rows, "Z must have one row a row");
    return {Z,     rows, loss,
            order, part, fold_of_columns(int(Z.shape(1)), loss.n_classes, rows.n_folds)};
}

Doubles contraction(PyMatrix& X, const PyTerms* A, const PyTerms* B, const MaybeDoubles& Q,
                    const Doubles& U, int n_classes, int n_threads) {
    X.check_coef(U, "U must have one row a coefficient");
    require((A || B) && bool(B) == bool(Q), "A or B must be given; B and Q go together");
    require(n_classes > 0, "n_classes must be positive");
    const int64_t n_columns = (A ? A : B)->values.shape(1);
    for (const auto* one : {A, B})
        if (one) {
            X.check_rows(one->values, "A and B must have one row a row");
            require(one->values.shape(1) == n_columns, "A and B must have a column a fold");
        }
    const int n_folds = int(n_columns) / n_classes,
              k = int(U.shape(1)) / std::max(1, n_folds * n_classes);
    require(n_folds * n_classes == n_columns && k * n_columns == U.shape(1),
            "U must have k columns a fold");
    if (Q) {
        X.check_coef(*Q, "Q must have one row a coefficient");
        require(Q->shape(1) == n_columns, "Q must have a column a fold");
    }
    Doubles out(std::vector<py::ssize_t>{n_folds, k, k});
    double* o = out.mutable_data();
    const RowTerms a = A ? A->view() : RowTerms{}, b = B ? B->view() : RowTerms{};
    const double *q = Q ? Q->data() : nullptr, *u = U.data();
    run(n_threads, [&](Team& team) {
        contract(X, team, A ? &a : nullptr, B ? &b : nullptr, q, u, n_folds, k, n_classes, o);
    });
    return out;
}

// total += part
template <class U>
void add_to(Array<U>& total, const Array<U>& part, int n_threads) {
    require(total.size() == part.size(), "both blocks must have the same shape");
    const int64_t n = total.size();
    U* t = total.mutable_data();
    const U* p = part.data();
    run(n_threads, [&](Team& team) {
        parallel_features(team, n, [&](int64_t, int64_t k0, int64_t k1) {
            for (int64_t k = k0; k < k1; ++k) t[k] += p[k];
        });
    });
}

}  // namespace

void bind_matrix(py::module_& m) {
    m.def("add_to", &add_to<float>, py::arg("total").noconvert(), py::arg("part").noconvert(),
          py::arg("n_threads"));
    m.def("add_to", &add_to<double>, py::arg("total").noconvert(), py::arg("part").noconvert(),
          py::arg("n_threads"));
    py::class_<PyTerms>(m, "Terms")
        .def(py::init(&terms_of_values), py::arg("values").noconvert())
        .def(py::init(&terms_at), py::arg("rows"), py::arg("loss"), py::arg("order"),
             py::arg("part"), py::arg("Z").noconvert());
    py::class_<PyMatrix>(m, "Matrix")
        .def(py::init(&from_csr), py::arg("indptr").noconvert(), py::arg("indices").noconvert(),
             py::arg("data").noconvert(), py::arg("n_cols"), py::arg("has_intercept"),
             py::arg("transposed") = py::none(), py::arg("deterministic") = false,
             py::arg("intercept") = 1.0)
        .def(py::init(&from_dense), py::arg("dense").noconvert(), py::arg("has_intercept"),
             py::arg("transposed") = py::none(), py::arg("deterministic") = false,
             py::arg("intercept") = 1.0)
        .def_static("stacked", &stacked, py::arg("matrices"), py::arg("transposed"),
                    py::arg("deterministic"))
        .def_property_readonly(
            "shape", [](const PyMatrix& X) { return py::make_tuple(X.rows.n_rows, X.rows.n_cols); })
        .def_property_readonly("n_coef", [](const PyMatrix& X) { return X.n_coef(); })
        .def_property_readonly("n_stored", [](const PyMatrix& X) { return X.rows.n_stored(); })
        .def_property_readonly("n_passes", [](PyMatrix& X) { return X.n_passes.of_this_thread(); })
        .def_property_readonly(
            "is_narrow",  // no use for a transposed copy
            [](const PyMatrix& X) { return is_fused_form(X, 2 * 8 * int(sizeof(double))); })
        .def("hvp", &product<double>, py::arg("C").noconvert(), py::arg("V").noconvert(),
             py::arg("n_classes"), py::arg("n_threads"))
        .def("hvp", &product<float>, py::arg("C").noconvert(), py::arg("V").noconvert(),
             py::arg("n_classes"), py::arg("n_threads"))
        .def(
            "hess_diag",
            [](PyMatrix& X, const Doubles& C, int n_threads) {
                X.check_rows(C, "the curvature must have one row a row");
                return each_column(X, C, X.n_coef(), n_threads,
                                   [](Matrix& X, Team& team, int m, const double* c, double* o) {
                                       hess_diag(X, team, c, m, o);
                                   });
            },
            py::arg("C").noconvert(), py::arg("n_threads"))
        .def("matvec", &product_with_rows<double>, py::arg("V").noconvert(), py::arg("n_threads"))
        .def("matvec", &product_with_rows<float>, py::arg("V").noconvert(), py::arg("n_threads"))
        .def("rmatvec", &product_with_columns<double>, py::arg("R").noconvert(),
             py::arg("n_threads"))
        .def("rmatvec", &product_with_columns<float>, py::arg("R").noconvert(),
             py::arg("n_threads"))
        .def("contract", &contraction, py::arg("A"), py::arg("B"), py::arg("Q").noconvert(),
             py::arg("U").noconvert(), py::arg("n_classes"), py::arg("n_threads"));
}
