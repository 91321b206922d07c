// Conjugate gradients and Newton's method: their settings and results as records, their operations
// native or Python's.
#include <memory>

#include "native_rows.hpp"
#include "python.hpp"

namespace {

struct PyPreconditioner : Preconditioner {
    MaybeDoubles diagonal_array, low_rank_array, inverse_array;

    void check(int64_t p) const {
        require(!diagonal || diagonal_array->shape(0) == p, "diagonal must have n_coef rows");
        require(!low_rank || low_rank_array->shape(0) <= p, "low_rank has too many rows");
        require(!inverse || inverse_array->shape(0) == p, "inverse must be (n_coef, n_coef)");
    }
};

PyPreconditioner make_preconditioner(const MaybeDoubles& diagonal, const MaybeDoubles& low_rank,
                                     const MaybeDoubles& inverse) {
    PyPreconditioner pre;
    if (diagonal) {
        require(diagonal->ndim() == 2, "diagonal must be (n_coef, 1) or (n_coef, n_classes)");
        pre.diagonal = diagonal->data();
        pre.n_diag = int(diagonal->shape(1));
    }
    if (low_rank) {
        require(diagonal && low_rank->ndim() == 2,
                "low_rank must be (n_hot, rank) and have a diagonal beside it");
        pre.low_rank = low_rank->data();
        pre.n_hot = low_rank->shape(0);
        pre.rank = int(low_rank->shape(1));
    }
    if (inverse) {
        require(inverse->ndim() == 2 && inverse->shape(0) == inverse->shape(1),
                "inverse must be (n_coef, n_coef)");
        pre.inverse = inverse->data();
    }
    pre.diagonal_array = diagonal;
    pre.low_rank_array = low_rank;
    pre.inverse_array = inverse;
    return pre;
}

// λ (n_coef, n_lam), and which of its columns each column of a block has
struct PyStrengths : Strengths {
    Doubles lam_array;
    Ints lam_of_array;
    int64_t n_coef() const { return lam_array.shape(0); }
    void check(int64_t p, int64_t m) const {
        require(n_coef() == p, "lam must have one row a coefficient");
        require(lam_of_array.size() == m, "lam_of must have one value a column");
        for (int64_t j = 0; j < m; ++j)
            require(lam_of[j] >= 0 && lam_of[j] < n_lam, "lam_of is out of range");
    }
};

PyStrengths make_strengths(const Doubles& lam, const Ints& lam_of) {
    require(lam.ndim() == 2, "lam must have one row a coefficient");
    return {{lam.data(), int(lam.shape(1)), lam_of.data()}, lam, lam_of};
}

void check_block(const Doubles& block, int64_t p, const char* what) {
    require(block.ndim() == 2 && block.shape(0) == p, what);
}

// ---- operations that Python brings: called with the GIL, by the thread that called us; what they
// raise goes through the algorithm as it is. What they get are copies, theirs to keep. ----

template <class U>
Array<U> block_of(const U* values, int64_t rows, int64_t cols) {
    Array<U> block = matrix<U>(rows, cols);
    std::copy(values, values + rows * cols, block.mutable_data());
    return block;
}

Ints numbers_of(const int* values, int64_t n) {
    Ints numbers(n);
    std::copy(values, values + n, numbers.mutable_data());
    return numbers;
}

// (rows,) or (rows, cols) into `out`
template <class U>
void read(const py::object& given, int64_t rows, int64_t cols, U* out, const char* what) {
    const Array<U> values(given);
    require(values.ndim() > 0 && values.shape(0) == rows && values.size() == rows * cols, what);
    std::copy(values.data(), values.data() + values.size(), out);
}

// `product(columns, d)` gives the data's part of H d for these columns
template <class U, class Call>
ProductOf<U> called_product_in(Team& team, int64_t p, const Call& product) {
    return
        [&team, p, product](const int* cols, int m, const U* d, U* out, const Epilogue& epilogue) {
            {
                py::gil_scoped_acquire acquire;
                read(product(numbers_of(cols, m), block_of(d, p, m)), p, m, out,
                     "a product must have the shape of its block");
            }
            if (epilogue) parallel_features(team, p, epilogue);
        };
}

// In float32 too where the products of the other side take such blocks and return them
template <class Call>
Product called_product(Team& team, int64_t p, bool has_floats, const Call& product) {
    return {called_product_in<double>(team, p, product),
            has_floats ? called_product_in<float>(team, p, product) : nullptr};
}

// RowSpace by an object with its operations as methods: `start` and `evaluate` return an object
// with `value`, `other` and `grad`; `product` multiplies the columns at positions of those that
// `curve` was called with.
struct CalledRows final : RowSpace {
    Team& team;
    const int64_t p;
    const int m;
    const bool has_floats;
    const py::object& operations;

    CalledRows(Team& team, int64_t p, int m, bool has_floats, const py::object& operations)
        : team(team), p(p), m(m), has_floats(has_floats), operations(operations) {}

    static Ints numbers(const std::vector<int>& columns) {
        return numbers_of(columns.data(), int64_t(columns.size()));
    }
    void read_evaluation(const py::object& found, int64_t a, LossSums sums, double* grad) {
        read(found.attr("value"), a, 1, sums.value, "value must have one number a column");
        read(found.attr("other"), a, 1, sums.other, "other must have one number a column");
        read(found.attr("grad"), p, a, grad, "grad must have the shape of the coefficients");
    }

    void start(const double* W, LossSums sums, double* grad) override {
        py::gil_scoped_acquire acquire;
        read_evaluation(operations.attr("start")(block_of(W, p, m)), m, sums, grad);
    }
    void evaluate(const std::vector<int>& columns, const double* w, LossSums sums,
                  double* grad) override {
        py::gil_scoped_acquire acquire;
        const int64_t a = int64_t(columns.size());
        const py::object found = operations.attr("evaluate")(numbers(columns), block_of(w, p, a));
        read_evaluation(found, a, sums, grad);
    }
    void keep(const std::vector<int>& columns, const std::vector<char>& is_taken) override {
        py::gil_scoped_acquire acquire;
        Array<bool> taken(is_taken.size());
        std::copy(is_taken.begin(), is_taken.end(), taken.mutable_data());
        operations.attr("keep")(numbers(columns), taken);
    }
    Product curve(const std::vector<int>& columns) override {
        py::gil_scoped_acquire acquire;
        operations.attr("curve")(numbers(columns));
        const auto product = [this](const Ints& positions, const py::array& d) {
            return py::object(operations.attr("product")(positions, d));
        };
        return called_product(team, p, has_floats, product);
    }
    double sum_along(const std::vector<int>& columns, int j, double t) override {
        py::gil_scoped_acquire acquire;
        return operations.attr("sum_along")(numbers(columns), j, t).cast<double>();
    }
};

// ---- conjugate gradients ----

struct PyHessian {  // the data's part by a matrix and a curvature, or by a function
    PyMatrix* X;
    Doubles curvature;
    py::object product;
    bool has_floats;
    int n_classes;
    PyStrengths strengths;
};

PyHessian make_hessian(PyMatrix& X, const Doubles& curvature, int n_classes,
                       const PyStrengths& strengths) {
    X.check_rows(curvature, "the curvature must have one row a row");
    require(n_classes > 0 && curvature.shape(1) % n_classes == 0,
            "the curvature must have n_classes columns a fold");
    require(strengths.n_coef() == X.n_coef(), "lam must have one row a coefficient");
    return {&X, curvature, {}, true, n_classes, strengths};
}

PyHessian hessian_by_calls(const py::function& product, int n_classes, const PyStrengths& strengths,
                           bool has_floats) {
    require(n_classes > 0, "n_classes must be positive");
    return {nullptr, {}, product, has_floats, n_classes, strengths};
}

template <class Column, class Value>
auto each(const std::vector<Column>& columns, Value Column::* field) {
    Array<Value> out(columns.size());
    for (size_t j = 0; j < columns.size(); ++j) out.mutable_at(j) = columns[j].*field;
    return out;
}

Doubles copy_of(const Doubles& block) {
    return block_of(block.data(), block.shape(0), block.shape(1));
}

struct CgResult {
    Doubles x, residual, residual_norm, length, energy;
    Ints n_iter, status;
};

CgResult solve(const PyHessian& hess, const Doubles& b, const MaybeDoubles& start,
               const Doubles& tol, const PyPreconditioner& precond, int max_iter,
               const MaybeDoubles& radius, int n_threads) {
    const int64_t p = hess.strengths.n_coef();
    check_block(b, p, "b must have one row a coefficient");
    const int m = int(b.shape(1)), K = hess.n_classes;
    require(m % K == 0, "columns must come in units of n_classes");
    require(tol.size() == m, "tol must have one value a column of b");
    require(!radius || radius->size() == m, "the radius must have one value a column of b");
    require(!start || (start->ndim() == 2 && start->shape(0) == p && start->shape(1) == m),
            "the start must have the shape of b");
    hess.strengths.check(p, m);
    precond.check(p);
    Doubles x = start ? copy_of(*start) : matrix(p, m), residual = copy_of(b);
    std::vector<CgColumn> columns(m);
    const int n_folds = hess.X ? int(hess.curvature.shape(1)) / K : 1;
    const std::vector<int> fold = fold_of_columns(m, K, n_folds);
    const double* c = hess.X ? hess.curvature.data() : nullptr;
    const CgSystems systems{p, m, K, residual.mutable_data(), x.mutable_data(), !start};
    const CgLimits limits{tol.data(), radius ? radius->data() : nullptr, max_iter};
    run(n_threads, [&](Team& team) {
        const auto product = [&](const Ints& numbers, const py::array& d) {
            return hess.product(numbers, d);
        };
        const Product of_data = hess.X ? data_product(*hess.X, team, c, n_folds, K, fold.data())
                                       : called_product(team, p, hess.has_floats, product);
        cg(team, systems, plus_strengths(of_data, hess.strengths), precond, limits, columns.data());
    });
    return {x,
            residual,
            each(columns, &CgColumn::residual),
            each(columns, &CgColumn::length),
            each(columns, &CgColumn::energy),
            each(columns, &CgColumn::n_iter),
            each(columns, &CgColumn::status)};
}

// ---- Newton's method ----

struct NewtonResult {
    Doubles W, grad;
    MaybeDoubles Z;  // where the rows are of a matrix
    Doubles train, held_out, grad_norm;
    Ints n_iter, n_cg, status;
};

// `rows_of(team)` gives the rows, a unique_ptr
template <class RowsOf>
NewtonResult minimise(RowsOf&& rows_of, int n_classes, const PyStrengths& strengths,
                      const Doubles& start, const Doubles& tol, const PyPreconditioner& precond,
                      int max_iter, int max_cg, int n_threads) {
    const int64_t p = strengths.n_coef();
    check_block(start, p, "W must have one row a coefficient");
    const int m = int(start.shape(1));
    require(n_classes > 0 && m % n_classes == 0, "columns must come in units of n_classes");
    require(tol.size() == m, "tol must have one value a column");
    strengths.check(p, m);
    precond.check(p);
    Doubles W = copy_of(start), G = matrix(p, m);
    std::vector<NewtonColumn> columns(m);
    double *w = W.mutable_data(), *g = G.mutable_data();
    const NewtonLimits limits{tol.data(), max_iter, max_cg};
    run(n_threads, [&](Team& team) {
        auto rows = rows_of(team);
        newton_cg(team, {*rows, p, m, n_classes, strengths}, precond, limits, w, g, columns.data());
    });
    return {W,
            G,
            {},
            each(columns, &NewtonColumn::train),
            each(columns, &NewtonColumn::held_out),
            each(columns, &NewtonColumn::gradient_norm),
            each(columns, &NewtonColumn::n_iter),
            each(columns, &NewtonColumn::n_cg),
            each(columns, &NewtonColumn::status)};
}

NewtonResult minimise_native(const PyRows& rows, PyMatrix& X, const Loss& loss,
                             const PyStrengths& strengths, const Doubles& start, const Doubles& tol,
                             const PyPreconditioner& precond, int max_iter, int max_cg,
                             int n_threads) {
    X.check_coef(start, "W must have one row a coefficient");
    require(rows.n_rows == X.n_rows(), "the rows must be those of X");
    const int m = int(start.shape(1));
    const std::vector<int> fold = fold_of_columns(m, loss.n_classes, rows.n_folds);
    Doubles Z = matrix(X.n_rows(), m);
    double* z = Z.mutable_data();
    const auto rows_of = [&](Team& team) {
        return std::make_unique<NativeRows>(X, team, rows, loss, m, fold.data(), z);
    };
    NewtonResult found = minimise(rows_of, loss.n_classes, strengths, start, tol, precond, max_iter,
                                  max_cg, n_threads);
    found.Z = Z;
    return found;
}

NewtonResult minimise_by_calls(const py::object& operations, int n_classes,
                               const PyStrengths& strengths, const Doubles& start,
                               const Doubles& tol, const PyPreconditioner& precond, int max_iter,
                               int max_cg, bool has_floats, int n_threads) {
    const auto rows_of = [&](Team& team) {
        return std::make_unique<CalledRows>(team, strengths.n_coef(), int(start.shape(1)),
                                            has_floats, operations);
    };
    return minimise(rows_of, n_classes, strengths, start, tol, precond, max_iter, max_cg,
                    n_threads);
}

}  // namespace

void bind_solvers(py::module_& m) {
    py::class_<PyPreconditioner>(m, "Preconditioner")
        .def(py::init(&make_preconditioner), py::arg("diagonal").noconvert(),
             py::arg("low_rank").noconvert(), py::arg("inverse").noconvert());
    py::class_<PyStrengths>(m, "Strengths")
        .def(py::init(&make_strengths), py::arg("lam").noconvert(), py::arg("lam_of").noconvert());
    py::class_<CgResult>(m, "CgResult")
        .def_readonly("x", &CgResult::x)
        .def_readonly("residual", &CgResult::residual)
        .def_readonly("n_iter", &CgResult::n_iter)
        .def_readonly("residual_norm", &CgResult::residual_norm)
        .def_readonly("length", &CgResult::length)
        .def_readonly("energy", &CgResult::energy)
        .def_readonly("status", &CgResult::status);
    py::class_<PyHessian>(m, "Hessian")
        .def(py::init(&make_hessian), py::keep_alive<1, 2>(), py::arg("matrix"),
             py::arg("curvature").noconvert(), py::arg("n_classes"), py::arg("strengths"))
        .def(py::init(&hessian_by_calls), py::arg("product"), py::arg("n_classes"),
             py::arg("strengths"), py::arg("has_floats"))
        .def("solve", &solve, py::arg("b").noconvert(), py::arg("start").noconvert(),
             py::arg("tol").noconvert(), py::arg("precond"), py::arg("max_iter"),
             py::arg("radius").noconvert(), py::kw_only(), py::arg("n_threads"));
    py::class_<NewtonResult>(m, "NewtonResult")
        .def_readonly("W", &NewtonResult::W)
        .def_readonly("grad", &NewtonResult::grad)
        .def_readonly("Z", &NewtonResult::Z)
        .def_readonly("train", &NewtonResult::train)
        .def_readonly("held_out", &NewtonResult::held_out)
        .def_readonly("grad_norm", &NewtonResult::grad_norm)
        .def_readonly("n_iter", &NewtonResult::n_iter)
        .def_readonly("n_cg", &NewtonResult::n_cg)
        .def_readonly("status", &NewtonResult::status);
    m.def("newton_cg", &minimise_native, py::arg("rows"), py::arg("matrix"), py::arg("loss"),
          py::arg("strengths"), py::arg("W").noconvert(), py::arg("tol").noconvert(),
          py::arg("precond"), py::kw_only(), py::arg("max_iter"), py::arg("max_cg"),
          py::arg("n_threads"));
    m.def("newton_cg", &minimise_by_calls, py::arg("operations"), py::arg("n_classes"),
          py::arg("strengths"), py::arg("W").noconvert(), py::arg("tol").noconvert(),
          py::arg("precond"), py::kw_only(), py::arg("max_iter"), py::arg("max_cg"),
          py::arg("has_floats"), py::arg("n_threads"));
    m.attr("STATUS") = py::make_tuple("converged", "max_iter", "indefinite", "nonfinite",
                                      "at_radius", "stalled", "interrupted");
}
