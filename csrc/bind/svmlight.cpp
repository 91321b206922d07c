// The reader of LIBSVM text.
#include "svmlight.hpp"

#include "python.hpp"

namespace {

// An array that owns the buffer: no copy.
template <class T>
py::array_t<T> array_from(fh::Buffer<T>& buffer, int64_t n) {
    T* data = buffer.get();
    py::capsule owner(data, [](void* p) { std::free(p); });
    buffer.release();  // after the capsule exists, so that nothing leaks if making it throws
    return py::array_t<T>(n, data, owner);
}

template <class V>
py::tuple parse_as(const py::buffer_info& text, int zero_based, int64_t max_index, int n_threads) {
    const char* begin = static_cast<const char*>(text.ptr);
    fh::SvmlightRows<V> rows;
    std::optional<fh::SvmlightError> error;
    run(n_threads, [&](Team& team) {
        error = fh::parse_svmlight(begin, begin + text.size, zero_based, max_index, team, rows);
    });
    if (error) throw py::value_error(error->message());
    py::array indices = rows.indices64 ? py::array(array_from(rows.indices64, rows.n_entries))
                                       : py::array(array_from(rows.indices32, rows.n_entries));
    return py::make_tuple(
        array_from(rows.labels, rows.n_rows), array_from(rows.indptr, rows.n_rows + 1), indices,
        array_from(rows.values, rows.n_entries), rows.n_features, rows.has_index_0);
}

}  // namespace

void bind_svmlight(py::module_& m) {
    m.def(
        "parse_svmlight",
        [](const py::buffer& buffer, int zero_based, bool float32, int n_threads,
           int64_t max_index) {
            const py::buffer_info text = buffer.request();
            if (text.itemsize != 1 || text.ndim != 1 || text.strides[0] != 1)
                throw py::type_error("text must be contiguous bytes");
            if (zero_based < -1 || zero_based > 1)
                throw py::value_error("zero_based must be -1 (auto), 0 or 1");
            if (n_threads < 1) throw py::value_error("n_threads must be at least 1");
            if (max_index < 0) throw py::value_error("max_index must not be negative");
            return float32 ? parse_as<float>(text, zero_based, max_index, n_threads)
                           : parse_as<double>(text, zero_based, max_index, n_threads);
        },
        py::arg("buffer"), py::arg("zero_based") = -1, py::arg("float32") = false,
        py::arg("n_threads") = 1, py::arg("max_index") = INT64_MAX,
        "Of LIBSVM text in memory: labels, indptr, indices, values, the number of features, and "
        "whether there is an index 0.");
}
