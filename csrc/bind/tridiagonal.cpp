// Solutions of shifted tridiagonal systems.
#include "tridiagonal.hpp"

#include "python.hpp"

namespace {

template <class T>
std::vector<Array<T>> solutions(const Doubles& d, const Doubles& off, const Doubles& shift,
                                const Array<T>& C, int n_powers, int n_threads) {
    require(d.ndim() == 1 && d.size() > 0, "the diagonal is 1-D and not empty");
    require(off.ndim() == 1 && off.size() == d.size() - 1, "beside it is one number less");
    require(C.ndim() == 2 && C.shape(0) == d.size(), "right-hand sides have a row for each number");
    require(shift.ndim() == 1 && (shift.size() == 1 || shift.size() == C.shape(1)),
            "shifts: one, or one a column");
    require(1 <= n_powers && n_powers <= 8, "powers: 1 to 8");
    const int64_t n = C.shape(0), m = C.shape(1);
    std::vector<Array<T>> found;
    std::vector<T*> to;
    for (int k = 0; k < n_powers; ++k) {
        found.push_back(matrix<T>(n, m));
        to.push_back(found.back().mutable_data());
    }
    const double *dd = d.data(), *oo = off.data(), *ss = shift.data();
    const T* cc = C.data();
    const int64_t n_shifts = shift.size();
    run(n_threads, [&](Team& team) {
        solve_tridiagonal(team, n, dd, oo, n_shifts, ss, cc, m, n_powers, to.data());
    });
    return found;
}

template <class T>
void bind_solutions(py::module_& m) {
    m.def("solve_tridiagonal", &solutions<T>, py::arg("diagonal").noconvert(),
          py::arg("off_diagonal").noconvert(), py::arg("shift").noconvert(),
          py::arg("C").noconvert(), py::arg("n_powers"), py::arg("n_threads"));
}

}  // namespace

void bind_tridiagonal(py::module_& m) {
    bind_solutions<double>(m);
    bind_solutions<float>(m);
}
