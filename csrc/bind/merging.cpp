// Columns that are multiples of each other.
#include "merging.hpp"

#include "python.hpp"

namespace {

template <class T, class I>
Csr<T, I> csr_of(const py::tuple& X, int64_t n_cols) {
    const auto indptr = X[0].cast<Array<int64_t>>();
    const auto indices = X[1].cast<py::array>(), data = X[2].cast<py::array>();
    require(indices.dtype().equal(py::dtype::of<I>()) && data.dtype().equal(py::dtype::of<T>()),
            "all matrices must have the same types");
    return {int64_t(indptr.size()) - 1, n_cols, indptr.data(),
            static_cast<const I*>(indices.data()), static_cast<const T*>(data.data())};
}

template <class F>
auto with_types(const py::tuple& X, F&& f) {
    const bool is_float = X[2].cast<py::array>().dtype().equal(py::dtype::of<float>());
    const bool is_wide = X[1].cast<py::array>().dtype().equal(py::dtype::of<int64_t>());
    if (is_float) return is_wide ? f(float(), int64_t()) : f(float(), int32_t());
    return is_wide ? f(double(), int64_t()) : f(double(), int32_t());
}

using Labels = std::optional<Array<int64_t>>;

// of CSR arrays (indptr, indices, data) on top of each other; None where more than `most` columns
// would remain
template <class T, class I>
py::object alike_typed(const py::list& matrices, int64_t n_cols, const Labels& alike, int64_t step,
                       int64_t most, int n_threads) {
    std::vector<Csr<T, I>> parts;
    for (auto one : matrices) parts.push_back(csr_of<T, I>(one.cast<py::tuple>(), n_cols));
    Array<int64_t> like(n_cols);
    Doubles ratio(n_cols);
    int64_t* l = like.mutable_data();
    double* r = ratio.mutable_data();
    const int64_t* a = alike ? alike->data() : nullptr;
    bool is_much = false;
    run(n_threads, [&](Team& team) {
        for (const int64_t every : {step, int64_t(1)}) {
            const auto columns = column_keys(team, parts, every);
            if (team.is_stopped) return;
            is_much = find_alike(columns, a, l) > most;
            if (is_much) return;
            if (every == 1) {
                take_largest(columns, l, r);
                break;
            }
        }
        verify_alike(team, parts, l, r);
    });
    if (is_much) return py::none();
    return py::make_tuple(like, ratio);
}

template <class T, class I>
py::tuple merged_typed(const py::tuple& arrays, const Array<int64_t>& group,
                       const std::optional<Doubles>& weight, int n_threads) {
    const auto X = csr_of<T, I>(arrays, group.size());
    Array<int64_t> indptr(X.n_rows + 1);
    int64_t* p = indptr.mutable_data();
    const int64_t* g = group.data();
    const double* w = weight ? weight->data() : nullptr;
    run(n_threads, [&](Team& team) { count_merged(team, X, g, p); });
    Array<I> indices(p[X.n_rows]);
    Array<T> data(p[X.n_rows]);
    I* i = indices.mutable_data();
    T* x = data.mutable_data();
    int64_t n = 0;
    run(n_threads, [&](Team& team) { n = merge_columns(team, X, g, w, p, i, x); });
    if (n < indices.size()) {
        indices.resize({n});
        data.resize({n});
    }
    return py::make_tuple(indptr, indices, data);
}

}  // namespace

void bind_merging(py::module_& m) {
    m.def("alike_columns", [](const py::list& matrices, int64_t n_cols, const Labels& alike,
                              int64_t step, int64_t most, int n_threads) {
        require(!matrices.empty(), "there must be a matrix");
        require(!alike || alike->size() == n_cols, "alike must have a number a column");
        return with_types(matrices[0].cast<py::tuple>(), [&](auto value, auto index) {
            return alike_typed<decltype(value), decltype(index)>(matrices, n_cols, alike, step,
                                                                 most, n_threads);
        });
    });
    m.def("merge_columns", [](const py::tuple& arrays, const Array<int64_t>& group,
                              const std::optional<Doubles>& weight, int n_threads) {
        require(!weight || weight->size() == group.size(), "weight must be as long as group");
        return with_types(arrays, [&](auto value, auto index) {
            return merged_typed<decltype(value), decltype(index)>(arrays, group, weight, n_threads);
        });
    });
}
