// The only file that includes pybind11: shape checks, views, GIL release, overloads. No arithmetic.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "convert.hpp"
#include "newton_cg.hpp"

namespace py = pybind11;
using namespace fh;

#include "bind_svmlight.hpp"

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;
using Doubles = Array<double>;
using Ints = Array<int>;
using MaybeDoubles = std::optional<Doubles>;
using Mask = std::optional<Array<uint8_t>>;

bool interrupt_pending() {  // called by the thread that called us; runs Python's signal handlers
    py::gil_scoped_acquire acquire;
    return PyErr_CheckSignals() != 0;
}

struct Threads : Team {  // raises what the signal handler raised, once the GIL is back
    explicit Threads(int n) : Team(n, interrupt_pending) {}
    void finish() const {
        if (is_stopped) throw py::error_already_set();
    }
};

void require(bool ok, const char* what) {
    if (!ok) throw std::invalid_argument(what);
}

Doubles matrix(int64_t rows, int64_t cols) { return Doubles(std::vector<py::ssize_t>{rows, cols}); }

Loss make_loss(const std::string& name, double a0, double a1) {
    static const std::pair<const char*, LossTable> table[] = {
#define FH_ROW(name, type) {#name, LossBlock<type>::table()},
        FH_LOSSES(FH_ROW)
#undef FH_ROW
    };
    for (auto& row : table)
        if (name == row.first) return Loss{row.second, {a0, a1}};
    throw std::invalid_argument("unknown loss '" + name + "'");
}

// A Matrix with the arrays that it views
struct PyMatrix : Matrix {
    py::object owner;

    static View csr_view(const Array<int64_t>& indptr, const py::array& indices,
                         const py::array& data, int64_t n_cols) {
        const int64_t n_rows = indptr.size() - 1;
        require(indices.size() == data.size() && indptr.at(n_rows) - indptr.at(0) <= data.size(),
                "indptr, indices and data do not fit");
        auto typed = [&](auto value, auto index) -> View {
            using T = decltype(value);
            using I = decltype(index);
            return View(Csr<T, I>{n_rows, n_cols, indptr.data(),
                                  static_cast<const I*>(indices.data()),
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
    static View dense_view(const py::array& X) {
        require(X.ndim() == 2 && (X.flags() & py::array::c_style), "X must be a C-ordered matrix");
        if (X.dtype().equal(py::dtype::of<float>()))
            return View(Dense<float>{X.shape(0), X.shape(1), static_cast<const float*>(X.data())});
        require(X.dtype().equal(py::dtype::of<double>()), "X must be float32 or float64");
        return View(Dense<double>{X.shape(0), X.shape(1), static_cast<const double*>(X.data())});
    }

    void check_coef(const Doubles& V, const char* what) const {
        require(V.ndim() == 2 && V.shape(0) == n_coef(), what);
    }
    void check_rows(const py::array& Z, const char* what) const {
        require(Z.ndim() == 2 && Z.shape(0) == n_rows(), what);
    }
};

struct Weights {
    RowWeights s;
    Weights(int64_t n, const MaybeDoubles& weight, const Mask& mask) {
        if (weight) {
            require(weight->size() == n, "weight must have one value a row");
            s.weight = weight->data();
        }
        if (mask) {
            require(mask->ndim() == 2 && mask->shape(0) == n, "mask must have one row a row");
            s.mask = mask->data();
            s.n_folds = int(mask->shape(1));
        }
    }
    void check(const Ints& fold) const {
        for (py::ssize_t j = 0; j < fold.size(); ++j)
            require(fold.at(j) >= 0 && (!s.mask || fold.at(j) < s.n_folds),
                    "fold is outside the mask");
    }
};

struct PyPreconditioner {
    Preconditioner pre;
    PyPreconditioner(int64_t p, const MaybeDoubles& diagonal, const MaybeDoubles& low_rank,
                     const MaybeDoubles& inverse) {
        if (diagonal) {
            require(diagonal->ndim() == 2 && diagonal->shape(0) == p,
                    "diagonal must be (n_coef, 1) or (n_coef, n_classes)");
            pre.diagonal = diagonal->data();
            pre.n_diag = int(diagonal->shape(1));
        }
        if (low_rank) {
            require(diagonal && low_rank->ndim() == 2 && low_rank->shape(0) <= p,
                    "low_rank must be (n_hot, rank) and have a diagonal beside it");
            pre.low_rank = low_rank->data();
            pre.n_hot = low_rank->shape(0);
            pre.rank = int(low_rank->shape(1));
        }
        if (inverse) {
            require(inverse->ndim() == 2 && inverse->shape(0) == p && inverse->shape(1) == p,
                    "inverse must be (n_coef, n_coef)");
            pre.inverse = inverse->data();
        }
    }
};

void bind_matrix(py::module_& m) {
    py::class_<PyMatrix>(m, "Matrix")
        .def(py::init([](const Array<int64_t>& indptr, const py::array& indices,
                         const py::array& data, int64_t n_cols, bool has_intercept,
                         const py::object& transposed, bool deterministic) {
                 auto X = std::make_unique<PyMatrix>();
                 X->rows = PyMatrix::csr_view(indptr, indices, data, n_cols);
                 X->has_intercept = has_intercept;
                 X->is_deterministic = deterministic;
                 if (!transposed.is_none()) {
                     auto t = transposed.cast<py::tuple>();
                     X->cols =
                         PyMatrix::csr_view(t[0].cast<Array<int64_t>>(), t[1].cast<py::array>(),
                                            t[2].cast<py::array>(), X->rows.n_rows);
                     require(X->cols.n_rows == n_cols, "the transposed copy has another shape");
                 }
                 X->owner = py::make_tuple(indptr, indices, data, transposed);
                 return X;
             }),
             py::arg("indptr").noconvert(), py::arg("indices").noconvert(),
             py::arg("data").noconvert(), py::arg("n_cols"), py::arg("has_intercept"),
             py::arg("transposed") = py::none(), py::arg("deterministic") = false)
        .def(py::init([](const py::array& dense, bool has_intercept, const py::object& transposed,
                         bool deterministic) {
                 auto X = std::make_unique<PyMatrix>();
                 X->rows = PyMatrix::dense_view(dense);
                 X->has_intercept = has_intercept;
                 X->is_deterministic = deterministic;
                 if (!transposed.is_none())
                     X->cols = PyMatrix::dense_view(transposed.cast<py::array>());
                 X->owner = py::make_tuple(dense, transposed);
                 return X;
             }),
             py::arg("dense").noconvert(), py::arg("has_intercept"),
             py::arg("transposed") = py::none(), py::arg("deterministic") = false)
        .def_property_readonly(
            "shape", [](const PyMatrix& X) { return py::make_tuple(X.rows.n_rows, X.rows.n_cols); })
        .def_property_readonly("n_coef", [](const PyMatrix& X) { return X.n_coef(); })
        .def_property_readonly("n_stored", [](const PyMatrix& X) { return X.rows.n_stored(); })
        .def_property_readonly("n_passes", [](const PyMatrix& X) { return X.n_passes; })
        .def_property_readonly("is_narrow",
                               [](const PyMatrix& X) {
                                   return is_fused_form(X, 2 * 8 * int(sizeof(double)));
                               })  // no use for a transposed copy
        .def(
            "loss_grad",
            [](PyMatrix& X, const Loss& loss, const Doubles& y, const MaybeDoubles& weight,
               const Mask& mask, const Ints& fold, const Doubles& W, bool want_grad,
               int n_threads) {
                X.check_coef(W, "W must have one row a coefficient");
                const int m = int(W.shape(1));
                Weights w(X.n_rows(), weight, mask);
                require(fold.size() == m && y.size() == X.n_rows(), "fold or y has another length");
                w.check(fold);
                Doubles train(m), held(m), Z = matrix(X.n_rows(), m),
                                           G = want_grad ? matrix(X.n_coef(), m) : matrix(0, m);
                double *t = train.mutable_data(), *h = held.mutable_data(), *z = Z.mutable_data(),
                       *g = want_grad ? G.mutable_data() : nullptr;
                const double *yy = y.data(), *ww = W.data();
                const int* ff = fold.data();
                Threads team(n_threads);
                {
                    py::gil_scoped_release release;
                    loss_grad(X, team, loss, yy, w.s, ff, m, ww, t, h, g, z);
                }
                team.finish();
                return py::make_tuple(train, held, G, Z);
            },
            py::arg("loss"), py::arg("y").noconvert(), py::arg("weight").noconvert(),
            py::arg("mask").noconvert(), py::arg("fold").noconvert(), py::arg("W").noconvert(),
            py::arg("want_grad"), py::arg("n_threads"))
        .def(
            "hvp",
            [](PyMatrix& X, const Doubles& C, const Ints& fold, const Doubles& V, int n_classes,
               int n_threads) {
                X.check_coef(V, "V must have one row a coefficient");
                X.check_rows(C, "the curvature must have one row a row");
                const int m = int(V.shape(1)), n_folds = int(C.shape(1)) / n_classes;
                require(fold.size() == m && m % n_classes == 0 && C.shape(1) % n_classes == 0,
                        "fold must name one curvature column a column");
                for (int j = 0; j < m; ++j)
                    require(fold.at(j) >= 0 && fold.at(j) < n_folds,
                            "fold is outside the curvature");
                Doubles out = matrix(X.n_coef(), m);
                double* o = out.mutable_data();
                const double *c = C.data(), *v = V.data();
                const int* f = fold.data();
                Threads team(n_threads);
                {
                    py::gil_scoped_release release;
                    hvp<double>(X, team, c, n_folds, n_classes, f, m, v, o);
                }
                team.finish();
                return out;
            },
            py::arg("C").noconvert(), py::arg("fold").noconvert(), py::arg("V").noconvert(),
            py::arg("n_classes"), py::arg("n_threads"))
        .def(
            "hess_diag",
            [](PyMatrix& X, const Doubles& C, int n_threads) {
                X.check_rows(C, "the curvature must have one row a row");
                Doubles out = matrix(X.n_coef(), C.shape(1));
                double* o = out.mutable_data();
                const double* c = C.data();
                const int n_folds = int(C.shape(1));
                Threads team(n_threads);
                {
                    py::gil_scoped_release release;
                    hess_diag(X, team, c, n_folds, o);
                }
                team.finish();
                return out;
            },
            py::arg("C").noconvert(), py::arg("n_threads"))
        .def(
            "matvec",
            [](PyMatrix& X, const Doubles& V, int n_threads) {
                X.check_coef(V, "V must have one row a coefficient");
                const int k = int(V.shape(1));
                Doubles out = matrix(X.n_rows(), k);
                double* o = out.mutable_data();
                const double* v = V.data();
                Threads team(n_threads);
                {
                    py::gil_scoped_release release;
                    matvec(X, team, k, v, o);
                }
                team.finish();
                return out;
            },
            py::arg("V").noconvert(), py::arg("n_threads"))
        .def(
            "rmatvec",
            [](PyMatrix& X, const Doubles& R, int n_threads) {
                X.check_rows(R, "R must have one row a row");
                const int k = int(R.shape(1));
                Doubles out = matrix(X.n_coef(), k);
                double* o = out.mutable_data();
                const double* r = R.data();
                Threads team(n_threads);
                {
                    py::gil_scoped_release release;
                    rmatvec(X, team, k, r, o);
                }
                team.finish();
                return out;
            },
            py::arg("R").noconvert(), py::arg("n_threads"))
        .def(
            "contract",
            [](PyMatrix& X, const Doubles& A, const MaybeDoubles& B, const MaybeDoubles& Q,
               const Doubles& U, int n_classes, int n_threads) {
                X.check_coef(U, "U must have one row a coefficient");
                X.check_rows(A, "A must have one row a row");
                const int n_folds = int(A.shape(1)) / n_classes,
                          k = int(U.shape(1)) / std::max(1, n_folds * n_classes);
                require(n_folds * n_classes == A.shape(1) &&
                            k * n_folds * n_classes == U.shape(1) && bool(B) == bool(Q),
                        "U must have k columns a fold; B and Q go together");
                if (Q) {
                    X.check_coef(*Q, "Q must have one row a coefficient");
                    X.check_rows(*B, "B must have one row a row");
                    require(Q->shape(1) == A.shape(1) && B->shape(1) == A.shape(1),
                            "B and Q must have a column a fold");
                }
                Doubles out(std::vector<py::ssize_t>{n_folds, k, k});
                double* o = out.mutable_data();
                const double *a = A.data(), *b = B ? B->data() : nullptr,
                             *q = Q ? Q->data() : nullptr, *u = U.data();
                Threads team(n_threads);
                {
                    py::gil_scoped_release release;
                    contract(X, team, a, b, q, u, n_folds, k, n_classes, o);
                }
                team.finish();
                return out;
            },
            py::arg("A").noconvert(), py::arg("B").noconvert(), py::arg("Q").noconvert(),
            py::arg("U").noconvert(), py::arg("n_classes"), py::arg("n_threads"))
        .def(
            "cg",
            [](PyMatrix& X, const Doubles& C, const Ints& fold, const Doubles& lam,
               const Ints& lam_of, const Doubles& rhs, const MaybeDoubles& start,
               const Doubles& tol, int max_iterations, const MaybeDoubles& diagonal,
               const MaybeDoubles& low_rank, const MaybeDoubles& inverse, int n_classes,
               int n_threads) {
                X.check_coef(rhs, "b must have one row a coefficient");
                X.check_rows(C, "the curvature must have one row a row");
                X.check_coef(lam, "lam must have one row a coefficient");
                const int k = int(rhs.shape(1));
                require(fold.size() == k && lam_of.size() == k && tol.size() == k,
                        "fold, lam_of and tol must have one value a column of b");
                for (int j = 0; j < k; ++j)
                    require(fold.at(j) >= 0 && fold.at(j) < C.shape(1) / n_classes &&
                                lam_of.at(j) >= 0 && lam_of.at(j) < lam.shape(1),
                            "fold or lam_of is out of range");
                if (start)
                    require(
                        start->ndim() == 2 && start->shape(0) == X.n_coef() && start->shape(1) == k,
                        "the start must have the shape of b");
                PyPreconditioner pre(X.n_coef(), diagonal, low_rank, inverse);
                Doubles x = matrix(X.n_coef(), k), b = matrix(X.n_coef(), k), residual(k);
                std::copy(rhs.data(), rhs.data() + rhs.size(), b.mutable_data());
                if (start)
                    std::copy(start->data(), start->data() + start->size(), x.mutable_data());
                std::vector<CgColumn> result(k);
                double *xp = x.mutable_data(), *bp = b.mutable_data();
                const int *f = fold.data(), *l = lam_of.data();
                const double *c = C.data(), *lp = lam.data(), *tp = tol.data();
                const int n_c = int(C.shape(1)) / n_classes, n_lam = int(lam.shape(1));
                const bool is_zero_start = !start;
                const int64_t p = X.n_coef();
                Threads team(n_threads);
                {
                    py::gil_scoped_release release;
                    cg(team, p, k, n_classes,
                       hessian_product(X, team, c, n_c, n_classes, f, lp, n_lam, l), pre.pre, bp,
                       xp, is_zero_start, tp, nullptr, max_iterations, result.data());
                }
                team.finish();
                Ints n_iter(k), status(k);
                Doubles energy(k);
                for (int j = 0; j < k; ++j) {
                    n_iter.mutable_at(j) = result[j].n_iter;
                    status.mutable_at(j) = result[j].status;
                    residual.mutable_at(j) = result[j].residual;
                    energy.mutable_at(j) = result[j].energy;
                }
                return py::make_tuple(x, b, n_iter, residual, energy, status);
            },
            py::arg("C").noconvert(), py::arg("fold").noconvert(), py::arg("lam").noconvert(),
            py::arg("lam_of").noconvert(), py::arg("b").noconvert(), py::arg("start").noconvert(),
            py::arg("tol").noconvert(), py::arg("max_iter"), py::arg("diagonal").noconvert(),
            py::arg("low_rank").noconvert(), py::arg("inverse").noconvert(), py::arg("n_classes"),
            py::arg("n_threads"))
        .def(
            "newton_cg",
            [](PyMatrix& X, const Loss& loss, const Doubles& y, const MaybeDoubles& weight,
               const Mask& mask, const Ints& fold, const Doubles& lam, const Ints& lam_of,
               const Doubles& start, const Doubles& tol, int max_iterations, int max_cg,
               const MaybeDoubles& diagonal, const MaybeDoubles& low_rank,
               const MaybeDoubles& inverse, int n_threads) {
                X.check_coef(start, "W must have one row a coefficient");
                X.check_coef(lam, "lam must have one row a coefficient");
                const int k = int(start.shape(1));
                Weights w(X.n_rows(), weight, mask);
                require(fold.size() == k && lam_of.size() == k && tol.size() == k &&
                            y.size() == X.n_rows(),
                        "fold, lam_of, tol or y has another length");
                w.check(fold);
                for (int j = 0; j < k; ++j)
                    require(lam_of.at(j) >= 0 && lam_of.at(j) < lam.shape(1),
                            "lam_of is out of range");
                PyPreconditioner pre(X.n_coef(), diagonal, low_rank, inverse);
                Doubles W = matrix(X.n_coef(), k), G = matrix(X.n_coef(), k),
                        Z = matrix(X.n_rows(), k);
                std::copy(start.data(), start.data() + start.size(), W.mutable_data());
                std::vector<NewtonColumn> result(k);
                InnerProblem problem{X,           loss,       y.data(),          w.s,          k,
                                     fold.data(), lam.data(), int(lam.shape(1)), lam_of.data()};
                double *wp = W.mutable_data(), *gp = G.mutable_data(), *zp = Z.mutable_data();
                const double* tp = tol.data();
                Threads team(n_threads);
                {
                    py::gil_scoped_release release;
                    newton_cg(team, problem, pre.pre, wp, gp, zp, tp, max_iterations, max_cg,
                              result.data());
                }
                team.finish();
                Ints n_iter(k), n_cg(k), status(k);
                Doubles train(k), held(k), norm(k);
                for (int j = 0; j < k; ++j) {
                    n_iter.mutable_at(j) = result[j].n_iter;
                    n_cg.mutable_at(j) = result[j].n_cg;
                    status.mutable_at(j) = result[j].status;
                    train.mutable_at(j) = result[j].train;
                    held.mutable_at(j) = result[j].held_out;
                    norm.mutable_at(j) = result[j].gradient_norm;
                }
                return py::make_tuple(W, G, Z, train, held, norm, n_iter, n_cg, status);
            },
            py::arg("loss"), py::arg("y").noconvert(), py::arg("weight").noconvert(),
            py::arg("mask").noconvert(), py::arg("fold").noconvert(), py::arg("lam").noconvert(),
            py::arg("lam_of").noconvert(), py::arg("W").noconvert(), py::arg("tol").noconvert(),
            py::arg("max_iter"), py::arg("max_cg"), py::arg("diagonal").noconvert(),
            py::arg("low_rank").noconvert(), py::arg("inverse").noconvert(), py::arg("n_threads"));
}

template <class T, class I>
py::tuple transpose_typed(const Array<int64_t>& indptr, const py::array& indices,
                          const py::array& data, int64_t n_cols, int n_threads) {
    const int64_t n_rows = indptr.size() - 1, nnz = data.size();
    Array<int64_t> t_indptr(n_cols + 1);
    py::array t_indices =
        n_rows <= INT32_MAX ? py::array(Array<int32_t>(nnz)) : py::array(Array<int64_t>(nnz));
    Array<T> t_data(nnz);
    std::vector<int64_t> counts(n_cols);
    Threads team(n_threads);
    {
        const int64_t *ip = indptr.data(), n = n_rows;
        const I* ix = static_cast<const I*>(indices.data());
        const T* dt = static_cast<const T*>(data.data());
        int64_t* tp = t_indptr.mutable_data();
        void* ti = t_indices.mutable_data();
        T* td = t_data.mutable_data();
        py::gil_scoped_release release;
        count_columns(team, nnz, ix, n_cols, counts.data());
        if (n <= INT32_MAX)
            transpose(team, n, n_cols, ip, ix, dt, counts.data(), tp, static_cast<int32_t*>(ti),
                      td);
        else
            transpose(team, n, n_cols, ip, ix, dt, counts.data(), tp, static_cast<int64_t*>(ti),
                      td);
    }
    team.finish();
    return py::make_tuple(t_indptr, t_indices, t_data);
}

template <class F>
auto with_index_type(const py::array& indices, F&& f) {
    if (indices.dtype().equal(py::dtype::of<int64_t>())) return f(int64_t());
    require(indices.dtype().equal(py::dtype::of<int32_t>()), "indices must be int32 or int64");
    return f(int32_t());
}

void bind_convert(py::module_& m) {
    m.def("count_columns",
          [](const py::array& indices, int64_t n_cols, int n_threads) -> py::object {
              Array<int64_t> counts(n_cols);
              int64_t* c = counts.mutable_data();
              Threads team(n_threads);
              const bool ok = with_index_type(indices, [&](auto index) {
                  using I = decltype(index);
                  const I* p = static_cast<const I*>(indices.data());
                  const int64_t nnz = indices.size();
                  py::gil_scoped_release release;
                  return count_columns(team, nnz, p, n_cols, c);
              });
              return ok ? py::object(counts) : py::none();  // None: a column number is out of range
          });
    m.def("frequency_order", [](const Array<int64_t>& counts) {
        Array<int64_t> order(counts.size()), rank(counts.size());
        frequency_order(counts.size(), counts.data(), order.mutable_data(), rank.mutable_data());
        return py::make_tuple(order, rank);
    });
    m.def("relabel", [](const py::array& indices, const std::optional<Array<int64_t>>& rank,
                        bool is_wide, int n_threads) {
        const int64_t nnz = indices.size();
        py::array out = is_wide ? py::array(Array<int64_t>(nnz)) : py::array(Array<int32_t>(nnz));
        void* o = out.mutable_data();
        Threads team(n_threads);
        with_index_type(indices, [&](auto index) {
            using I = decltype(index);
            const I* p = static_cast<const I*>(indices.data());
            const int64_t* r = rank ? rank->data() : nullptr;
            py::gil_scoped_release release;
            if (is_wide)
                relabel(team, nnz, p, r, static_cast<int64_t*>(o));
            else
                relabel(team, nnz, p, r, static_cast<int32_t*>(o));
            return true;
        });
        return out;
    });
    m.def("transpose", [](const Array<int64_t>& indptr, const py::array& indices,
                          const py::array& data, int64_t n_cols, int n_threads) {
        return with_index_type(indices, [&](auto index) {
            using I = decltype(index);
            return data.dtype().equal(py::dtype::of<float>())
                       ? transpose_typed<float, I>(indptr, indices, data, n_cols, n_threads)
                       : transpose_typed<double, I>(indptr, indices, data, n_cols, n_threads);
        });
    });
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
    m.doc() =
        "Native kernels of fasthoag: passes over X, conjugate gradients, Newton-CG, text reader. "
        "Shapes are checked here; the kernels trust them.";
    watch_fork();
    // by name with its parameters, by the addresses of two C functions of the shape of LossTable,
    // multinomial, or a mix of two
    py::class_<Loss>(m, "Loss")
        .def(py::init(&make_loss), py::arg("name"), py::arg("a0"), py::arg("a1"))
        .def(py::init([](intptr_t value_d1, intptr_t derivative) {
                 Loss loss;
                 loss.value_d1_of = reinterpret_cast<decltype(loss.value_d1_of)>(value_d1);
                 loss.derivative_of = reinterpret_cast<decltype(loss.derivative_of)>(derivative);
                 return loss;
             }),
             py::arg("value_d1"), py::arg("derivative"))
        .def(py::init([](int n_classes, double smoothing) {
                 require(n_classes >= 2, "the multinomial loss needs at least 2 classes");
                 Loss loss;
                 loss.a[0] = smoothing;
                 loss.n_classes = n_classes;
                 return loss;
             }),
             py::arg("n_classes"), py::arg("smoothing"))
        .def(py::init([](Loss loss, const Loss& other, double weight) {
                 require(loss.weight == 1.0 && other.weight == 1.0 && loss.n_classes == 1 &&
                             other.n_classes == 1,
                         "a mix is of two losses of one output");
                 loss.other = other;
                 std::copy(other.a, other.a + 2, loss.other_a);
                 loss.weight = weight;
                 return loss;
             }),
             py::arg("loss"), py::arg("other"), py::arg("weight"))
        .def_readonly("n_classes", &Loss::n_classes);
    bind_matrix(m);
    bind_convert(m);
    bind_svmlight(m);
    m.def("loss_names", [] {
        std::vector<std::string> names;
#define FH_ROW(name, type) names.push_back(#name);
        FH_LOSSES(FH_ROW)
#undef FH_ROW
        return names;
    });
    // the derivative of this order at every (y_i, z_ij), unweighted; then the same with row
    // weights, and the weighted sums
    m.def(
        "row_terms",
        [](const Loss& loss, int order, const Doubles& y, const MaybeDoubles& weight,
           const Mask& mask, int bit, const Ints& fold, const Doubles& Z, int n_threads) {
            require(Z.ndim() == 2 && y.size() == Z.shape(0) && fold.size() == Z.shape(1),
                    "y, fold and Z do not fit");
            const int64_t n = Z.shape(0);
            const int k = int(Z.shape(1));
            Weights w(n, weight, mask);
            w.check(fold);
            Doubles out = matrix(n, k);
            double* o = out.mutable_data();
            const double *yy = y.data(), *z = Z.data();
            const int* f = fold.data();
            Threads team(n_threads);
            {
                py::gil_scoped_release release;
                row_terms(n, team, loss, order, yy, w.s, uint8_t(bit), f, k, z, o);
            }
            return out;
        },
        py::arg("loss"), py::arg("order"), py::arg("y").noconvert(), py::arg("weight").noconvert(),
        py::arg("mask").noconvert(), py::arg("bit"), py::arg("fold").noconvert(),
        py::arg("Z").noconvert(), py::arg("n_threads"));
    m.def(
        "loss_sum",
        [](const Loss& loss, const Doubles& y, const MaybeDoubles& weight, const Mask& mask,
           int bit, const Ints& fold, const Doubles& Z, int n_threads) {
            require(Z.ndim() == 2 && y.size() == Z.shape(0) && fold.size() == Z.shape(1),
                    "y, fold and Z do not fit");
            Weights w(Z.shape(0), weight, mask);
            w.check(fold);
            Doubles out(Z.shape(1));
            Threads team(n_threads);
            loss_sum(Z.shape(0), team, loss, y.data(), w.s, uint8_t(bit), fold.data(),
                     int(Z.shape(1)), Z.data(), out.mutable_data());
            return out;
        },
        py::arg("loss"), py::arg("y").noconvert(), py::arg("weight").noconvert(),
        py::arg("mask").noconvert(), py::arg("bit"), py::arg("fold").noconvert(),
        py::arg("Z").noconvert(), py::arg("n_threads"));

    m.def("hardware_threads", &hardware_threads);
    m.attr("has_openmp") =
#ifdef _OPENMP
        true;
#else
        false;
#endif
    m.attr("has_clones") = bool(FH_HAS_CLONES);
    m.attr("compiler") = __VERSION__;
    m.attr("STATUS") = py::make_tuple("converged", "max_iter", "indefinite", "nonfinite",
                                      "at_radius", "stalled", "interrupted");
}
