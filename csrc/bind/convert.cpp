// What a design does with its columns once: counts, renumbering, the transposed copy.
#include "convert.hpp"

#include "python.hpp"

namespace {

// of CSR arrays (indptr, indices, data) on top of each other
template <class T, class I>
py::tuple transpose_typed(const py::list& matrices, int64_t n_cols, int n_threads) {
    std::vector<Csr<T, I>> parts;
    int64_t n_rows = 0, nnz = 0;
    for (auto one : matrices) {
        auto X = one.cast<py::tuple>();
        const auto indptr = X[0].cast<Array<int64_t>>();
        const auto indices = X[1].cast<py::array>(), data = X[2].cast<py::array>();
        require(indices.dtype().equal(py::dtype::of<I>()) && data.dtype().equal(py::dtype::of<T>()),
                "all matrices must have the same types");
        parts.push_back({int64_t(indptr.size()) - 1, n_cols, indptr.data(),
                         static_cast<const I*>(indices.data()),
                         static_cast<const T*>(data.data())});
        n_rows += parts.back().n_rows;
        nnz += data.size();
    }
    Array<int64_t> t_indptr(n_cols + 1);
    py::array t_indices =
        n_rows <= INT32_MAX ? py::array(Array<int32_t>(nnz)) : py::array(Array<int64_t>(nnz));
    Array<T> t_data(nnz);
    Threads team(n_threads);
    {
        int64_t* tp = t_indptr.mutable_data();
        void* ti = t_indices.mutable_data();
        T* td = t_data.mutable_data();
        py::gil_scoped_release release;
        std::vector<int64_t> counts(n_cols, 0), of_part(n_cols);
        for (const Csr<T, I>& X : parts) {
            count_columns(team, X.indptr[X.n_rows], X.indices, n_cols, of_part.data());
            for (int64_t j = 0; j < n_cols; ++j) counts[j] += of_part[j];
        }
        if (n_rows <= INT32_MAX)
            transpose(team, parts, counts.data(), tp, static_cast<int32_t*>(ti), td);
        else
            transpose(team, parts, counts.data(), tp, static_cast<int64_t*>(ti), td);
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

}  // namespace

void bind_convert(py::module_& m) {
    m.def("sizes", [](const py::array& values, int n_threads) {
        require(values.flags() & py::array::c_style, "values must be contiguous");
        const bool is_float = values.dtype().equal(py::dtype::of<float>());
        require(is_float || values.dtype().equal(py::dtype::of<double>()),
                "values must be float32 or float64");
        const int64_t n = values.size();
        const void* x = values.data();
        Sizes found;
        run(n_threads, [&](Team& team) {
            found = is_float ? sizes(team, n, static_cast<const float*>(x))
                             : sizes(team, n, static_cast<const double*>(x));
        });
        return py::make_tuple(found.smallest, found.largest);
    });
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
    m.def("transpose", [](const py::list& matrices, int64_t n_cols, int n_threads) {
        require(!matrices.empty(), "there must be a matrix");
        auto X = matrices[0].cast<py::tuple>();
        const bool is_float = X[2].cast<py::array>().dtype().equal(py::dtype::of<float>());
        return with_index_type(X[1].cast<py::array>(), [&](auto index) {
            using I = decltype(index);
            return is_float ? transpose_typed<float, I>(matrices, n_cols, n_threads)
                            : transpose_typed<double, I>(matrices, n_cols, n_threads);
        });
    });
}
