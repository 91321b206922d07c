// What is looked at before any kernel reads a matrix that somebody else made.
#include "structure.hpp"

#include "python.hpp"

namespace {

const char* name_of(Fault fault) {
    switch (fault) {
        case Fault::none:
            return "none";
        case Fault::start:
            return "start";
        case Fault::decrease:
            return "decrease";
        case Fault::end:
            return "end";
        default:
            return "index";
    }
}

template <class F>
auto with_integers(const py::array& a, F&& f) {
    require(a.ndim() == 1 && (a.flags() & py::array::c_style), "pointers and numbers are 1-D");
    if (a.dtype().equal(py::dtype::of<int64_t>())) return f(static_cast<const int64_t*>(a.data()));
    require(a.dtype().equal(py::dtype::of<int32_t>()), "pointers and numbers: int32 or int64");
    return f(static_cast<const int32_t*>(a.data()));
}

}  // namespace

void bind_structure(py::module_& m) {
    m.def("look_at", [](const py::array& indptr, const py::array& indices, int64_t n_stored,
                        int64_t n_cols, int n_threads) {
        require(indptr.size() > 0 && n_stored <= indices.size(), "pointers or numbers are missing");
        Structure found;
        Threads team(n_threads);
        with_integers(indptr, [&](auto* p) {
            return with_integers(indices, [&](auto* i) {
                const int64_t n_rows = indptr.size() - 1;
                py::gil_scoped_release release;
                found = look_at(team, n_rows, p, n_stored, i, n_cols);
                return true;
            });
        });
        return py::make_tuple(name_of(found.fault), found.at, found.is_canonical);
    });
    m.def("fingerprint", [](const py::array& array, int n_threads) {
        require(array.flags() & py::array::c_style, "the array must be contiguous");
        require(array.itemsize() % 4 == 0, "elements must be of whole words");
        const auto* bytes = static_cast<const char*>(array.data());
        const int64_t n_bytes = array.nbytes();
        uint64_t found = 0;
        run(n_threads, [&](Team& team) { found = fingerprint(team, bytes, n_bytes); });
        return found;
    });
}
