// The reader of LIBSVM text.
#include "svmlight.hpp"

#include <utility>
#include <variant>

#include "python.hpp"

namespace {

// An array that owns the buffer: no copy.
template <class T>
py::array_t<T> array_from(fh::Buffer<T>& buffer, int64_t n) {
    buffer.resize(n);
    T* data = buffer.data.get();
    py::capsule owner(data, [](void* p) { std::free(p); });
    (void)buffer.data.release();  // after the capsule exists: nothing leaks if making it throws
    return py::array_t<T>(n, data, owner);
}

struct SvmlightParser {
    fh::SvmlightSettings settings;
    std::variant<fh::SvmlightRows<double>, fh::SvmlightRows<float>> rows;

    SvmlightParser(int zero_based, bool float32, int64_t max_index, int64_t max_bytes,
                   bool needs_labels, bool has_weights, bool reads_queries, bool has_several)
        : settings{zero_based,  max_index,     max_bytes,  needs_labels,
                   has_weights, reads_queries, has_several} {
        require(!(has_weights && has_several), "several labels have no weight behind them");
        require(zero_based >= -1 && zero_based <= 1, "zero_based must be -1 (auto), 0 or 1");
        require(max_index >= 0, "max_index must not be negative");
        if (float32) rows = fh::SvmlightRows<float>();
    }

    // 0, or the line with which the rows take too much
    int64_t read(const py::buffer& buffer, int64_t size, int n_threads, bool is_kept) {
        const py::buffer_info text = buffer.request();
        require(text.itemsize == 1 && text.ndim == 1 && text.strides[0] == 1,
                "text must be contiguous bytes");
        const char* begin = static_cast<const char*>(text.ptr);
        require(size > 0 && size + fh::svmlight::kPadding <= text.size && begin[size - 1] == '\n',
                "a block must end with a line end and have padding behind it");
        std::optional<fh::SvmlightError> error;
        run(n_threads, [&](Team& team) {
            std::visit(
                [&](auto& r) {
                    error = fh::read_block(begin, begin + size, settings, team, is_kept, r);
                },
                rows);
        });
        if (!error) return 0;
        if (error->what.empty()) return error->line;
        throw py::value_error("line " + std::to_string(error->line) + ": " + error->what);
    }

    int64_t n_lines() const {
        return std::visit([](auto& r) { return r.n_lines; }, rows);
    }
    int64_t n_bytes() const {
        return std::visit([](auto& r) { return r.bytes_of(r.n_rows, r.n_entries, r.n_labels); },
                          rows);
    }

    py::tuple result() {
        return std::visit([&](auto& r) { return result_of(r); }, rows);
    }

    template <class V>
    py::tuple result_of(fh::SvmlightRows<V>& found) {
        fh::SvmlightRows<V> r = std::exchange(found, {});
        if (r.n_rows == 0)
            throw py::value_error("no rows; the file is empty or holds only comments");
        const int64_t step = r.min_index < 0;  // 0-based after all
        const bool has_index_0 = step || (settings.zero_based == 1 && r.min_index == 0);
        py::array indices = r.is_wide ? indices_from(r.indices64, r.n_entries, step)
                                      : indices_from(r.indices32, r.n_entries, step);
        py::object weights = py::none(), queries = py::none(), labelptr = py::none();
        if (r.has_weights) weights = array_from(r.weights, r.n_rows);
        if (r.has_queries) queries = array_from(r.queries, r.n_rows);
        if (r.has_several) labelptr = array_from(r.labelptr, r.n_rows + 1);
        return py::make_tuple(array_from(r.labels, r.n_labels), array_from(r.indptr, r.n_rows + 1),
                              indices, array_from(r.values, r.n_entries), r.max_index + step + 1,
                              has_index_0, weights, queries, labelptr);
    }

    template <class I>
    static py::array indices_from(fh::Buffer<I>& indices, int64_t n, int64_t step) {
        if (step)
            for (int64_t i = 0; i < n; ++i) ++indices.data[i];
        return array_from(indices, n);
    }
};

}  // namespace

void bind_svmlight(py::module_& m) {
    m.attr("SVMLIGHT_PADDING") = fh::svmlight::kPadding;
    py::class_<SvmlightParser>(m, "SvmlightParser", "The rows of LIBSVM text, block by block.")
        .def(py::init<int, bool, int64_t, int64_t, bool, bool, bool, bool>(), py::arg("zero_based"),
             py::arg("float32"), py::arg("max_index"), py::arg("max_bytes"),
             py::arg("needs_labels") = true, py::arg("has_weights") = false,
             py::arg("reads_queries") = false, py::arg("has_several") = false)
        .def("read", &SvmlightParser::read, py::arg("buffer"), py::arg("size"),
             py::arg("n_threads"), py::arg("is_kept") = true,
             "Appends the rows of the first `size` bytes, which are whole lines; looks at them "
             "only without `is_kept`. 0, or the line with which all rows take more than max_bytes.")
        .def_property_readonly("n_lines", &SvmlightParser::n_lines)
        .def_property_readonly("n_bytes", &SvmlightParser::n_bytes)
        .def("result", &SvmlightParser::result,
             "Labels, indptr, indices, values, the number of features, whether there is an "
             "index 0, and weights, numbers of queries (-1 for none) and where the labels of rows "
             "begin and end, or None. The next block is the first of another text.");
}
