// Conjugate gradients and Newton's method: their settings and results as records.
#include "newton_cg.hpp"
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

struct Strengths {  // λ (n_coef, n_lam), and which of its columns each column of a block has
    Doubles lam;
    Ints lam_of;
    int n_lam() const { return int(lam.shape(1)); }
    void check(const PyMatrix& X, int64_t m) const {
        X.check_coef(lam, "lam must have one row a coefficient");
        require(lam_of.size() == m, "lam_of must have one value a column");
        for (int64_t j = 0; j < m; ++j)
            require(lam_of.at(j) >= 0 && lam_of.at(j) < n_lam(), "lam_of is out of range");
    }
};

struct PyHessian {
    PyMatrix* X;
    Doubles curvature;
    int n_classes;
    Strengths strengths;
};

PyHessian make_hessian(PyMatrix& X, const Doubles& curvature, int n_classes,
                       const Strengths& strengths) {
    X.check_rows(curvature, "the curvature must have one row a row");
    require(n_classes > 0 && curvature.shape(1) % n_classes == 0,
            "the curvature must have n_classes columns a fold");
    return {&X, curvature, n_classes, strengths};
}

template <class Column, class Value>
auto each(const std::vector<Column>& columns, Value Column::* field) {
    Array<Value> out(columns.size());
    for (size_t j = 0; j < columns.size(); ++j) out.mutable_at(j) = columns[j].*field;
    return out;
}

Doubles copy_of(const Doubles& block) {
    Doubles out = matrix(block.shape(0), block.shape(1));
    std::copy(block.data(), block.data() + block.size(), out.mutable_data());
    return out;
}

struct CgResult {
    Doubles x, residual, residual_norm, length, energy;
    Ints n_iter, status;
};

CgResult solve(const PyHessian& hess, const Doubles& b, const MaybeDoubles& start,
               const Doubles& tol, const PyPreconditioner& precond, int max_iter, int n_threads) {
    PyMatrix& X = *hess.X;
    X.check_coef(b, "b must have one row a coefficient");
    const int m = int(b.shape(1)), K = hess.n_classes, n_folds = int(hess.curvature.shape(1)) / K;
    const int64_t p = X.n_coef();
    require(tol.size() == m, "tol must have one value a column of b");
    require(!start || (start->ndim() == 2 && start->shape(0) == p && start->shape(1) == m),
            "the start must have the shape of b");
    hess.strengths.check(X, m);
    precond.check(p);
    const std::vector<int> fold = fold_of_columns(m, K, n_folds);
    Doubles x = start ? copy_of(*start) : matrix(p, m), residual = copy_of(b);
    std::vector<CgColumn> columns(m);
    double *xp = x.mutable_data(), *rp = residual.mutable_data();
    const double *c = hess.curvature.data(), *lam = hess.strengths.lam.data(), *tp = tol.data();
    const int *lam_of = hess.strengths.lam_of.data(), n_lam = hess.strengths.n_lam();
    run(n_threads, [&](Team& team) {
        cg(team, p, m, K, hessian_product(X, team, c, n_folds, K, fold.data(), lam, n_lam, lam_of),
           precond, rp, xp, !start, tp, nullptr, max_iter, columns.data());
    });
    return {x,
            residual,
            each(columns, &CgColumn::residual),
            each(columns, &CgColumn::length),
            each(columns, &CgColumn::energy),
            each(columns, &CgColumn::n_iter),
            each(columns, &CgColumn::status)};
}

struct NewtonResult {
    Doubles W, grad, Z, train, held_out, grad_norm;
    Ints n_iter, n_cg, status;
};

NewtonResult minimise(const PyRows& rows, PyMatrix& X, const Loss& loss, const Strengths& strengths,
                      const Doubles& start, const Doubles& tol, const PyPreconditioner& precond,
                      int max_iter, int max_cg, int n_threads) {
    X.check_coef(start, "W must have one row a coefficient");
    require(rows.n_rows == X.n_rows(), "the rows must be those of X");
    const int m = int(start.shape(1));
    require(tol.size() == m, "tol must have one value a column");
    strengths.check(X, m);
    precond.check(X.n_coef());
    const std::vector<int> fold = fold_of_columns(m, loss.n_classes, rows.n_folds);
    Doubles W = copy_of(start), G = matrix(X.n_coef(), m), Z = matrix(X.n_rows(), m);
    std::vector<NewtonColumn> columns(m);
    const InnerProblem problem{X,
                               rows,
                               loss,
                               m,
                               fold.data(),
                               strengths.lam.data(),
                               strengths.n_lam(),
                               strengths.lam_of.data()};
    double *w = W.mutable_data(), *g = G.mutable_data(), *z = Z.mutable_data();
    const double* tp = tol.data();
    run(n_threads, [&](Team& team) {
        newton_cg(team, problem, precond, w, g, z, tp, max_iter, max_cg, columns.data());
    });
    return {W,
            G,
            Z,
            each(columns, &NewtonColumn::train),
            each(columns, &NewtonColumn::held_out),
            each(columns, &NewtonColumn::gradient_norm),
            each(columns, &NewtonColumn::n_iter),
            each(columns, &NewtonColumn::n_cg),
            each(columns, &NewtonColumn::status)};
}

}  // namespace

void bind_solvers(py::module_& m) {
    py::class_<PyPreconditioner>(m, "Preconditioner")
        .def(py::init(&make_preconditioner), py::arg("diagonal").noconvert(),
             py::arg("low_rank").noconvert(), py::arg("inverse").noconvert());
    py::class_<Strengths>(m, "Strengths")
        .def(
            py::init([](const Doubles& lam, const Ints& lam_of) { return Strengths{lam, lam_of}; }),
            py::arg("lam").noconvert(), py::arg("lam_of").noconvert());
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
        .def("solve", &solve, py::arg("b").noconvert(), py::arg("start").noconvert(),
             py::arg("tol").noconvert(), py::arg("precond"), py::arg("max_iter"),
             py::arg("n_threads"));
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
    m.def("newton_cg", &minimise, py::arg("rows"), py::arg("matrix"), py::arg("loss"),
          py::arg("strengths"), py::arg("W").noconvert(), py::arg("tol").noconvert(),
          py::arg("precond"), py::kw_only(), py::arg("max_iter"), py::arg("max_cg"),
          py::arg("n_threads"));
    m.attr("STATUS") = py::make_tuple("converged", "max_iter", "indefinite", "nonfinite",
                                      "at_radius", "stalled", "interrupted");
}
