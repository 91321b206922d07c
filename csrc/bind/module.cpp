// The extension module. The files of this folder are the only ones that know Python: shape checks,
// views, GIL release, overloads; no arithmetic. The kernels trust them.
#include "python.hpp"

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
    m.doc() =
        "Native kernels of fasthoag: passes over X, conjugate gradients, Newton-CG, text reader.";
    watch_fork();
    bind_matrix(m);
    bind_rows(m);
    bind_solvers(m);
    bind_convert(m);
    bind_kernel(m);
    bind_merging(m);
    bind_structure(m);
    bind_svmlight(m);
    bind_tridiagonal(m);
    m.def("hardware_threads", &hardware_threads);
    m.def("share_cores", [](int n) { Share::n_cores() = std::max(1, n); }, py::arg("n"));
    m.attr("has_openmp") =
#ifdef _OPENMP
        true;
#else
        false;
#endif
    m.attr("has_clones") = bool(FH_HAS_CLONES);
    m.attr("compiler") = __VERSION__;
}
