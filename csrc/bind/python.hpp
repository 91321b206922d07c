// What the bindings share: arrays that are never converted, checks, threads that Python may stop.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "passes.hpp"

namespace py = pybind11;
using namespace fh;

template <class T>
using Array = py::array_t<T, py::array::c_style>;
using Doubles = Array<double>;
using Ints = Array<int>;
using MaybeDoubles = std::optional<Doubles>;

inline void require(bool ok, const char* what) {
    if (!ok) throw std::invalid_argument(what);
}

template <class T = double>
Array<T> matrix(int64_t rows, int64_t cols) {
    return Array<T>(std::vector<py::ssize_t>{rows, cols});
}

// called by the thread that called us; runs Python's signal handlers
inline bool interrupt_pending() {
    py::gil_scoped_acquire acquire;
    return PyErr_CheckSignals() != 0;
}

struct Threads : Team {  // raises what the signal handler raised, once the GIL is back
    explicit Threads(int n) : Team(n, interrupt_pending) {}
    void finish() const {
        if (is_stopped) throw py::error_already_set();
    }
};

// Work without the GIL; what views arrays is made before, what Python sees after.
template <class F>
void run(int n_threads, F&& work) {
    Threads team(n_threads);
    {
        py::gil_scoped_release release;
        work(team);
    }
    team.finish();
}

// Columns come in units of K, the classes of a fold; unit u is of fold u modulo the number of
// folds.
inline std::vector<int> fold_of_columns(int m, int K, int n_folds) {
    require(K > 0 && n_folds > 0 && m % K == 0, "columns must come in units of n_classes");
    std::vector<int> fold(m);
    for (int j = 0; j < m; ++j) fold[j] = j / K % n_folds;
    return fold;
}

// A Matrix with the arrays that it views
struct PyMatrix : Matrix {
    py::object owner;
    Stack stack;  // of rows in several parts

    void check_coef(const py::array& V, const char* what) const {
        require(V.ndim() == 2 && V.shape(0) == n_coef(), what);
    }
    void check_rows(const py::array& Z, const char* what) const {
        require(Z.ndim() == 2 && Z.shape(0) == n_rows(), what);
    }
};

// RowData with the arrays that it views
struct PyRows : RowData {
    Doubles y_array;
    MaybeDoubles weight_array, offset_array;
    std::optional<Array<uint8_t>> mask_array;
};

void bind_matrix(py::module_& m);
void bind_rows(py::module_& m);
void bind_solvers(py::module_& m);
void bind_convert(py::module_& m);
void bind_kernel(py::module_& m);
void bind_merging(py::module_& m);
void bind_structure(py::module_& m);
void bind_svmlight(py::module_& m);
void bind_tridiagonal(py::module_& m);
