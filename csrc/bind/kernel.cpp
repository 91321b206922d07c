// Kernel matrices, their products and sums.
#include "kernel.hpp"

#include "python.hpp"

namespace {

struct PyPairs : Pairs {
    Doubles X_array;
    MaybeDoubles Y_array;
};

// name of the pair, name of the shape, shift and degree
using Form = std::tuple<std::string, std::string, double, double>;

PyPairs pairs_of(const Form& form, const Doubles& X, const MaybeDoubles& Y, bool is_symmetric,
                 bool is_shared, double scale) {
    const auto& [pair, shape, shift, degree] = form;
    require(X.ndim() == 2 && (!Y || Y->ndim() == 2), "X and Y must have 2 dimensions");
    PyPairs out;
    out.X_array = X;
    out.Y_array = Y;
    out.kernel.pair = pair == "squares"     ? Pair::squares
                      : pair == "distances" ? Pair::distances
                      : pair == "products"  ? Pair::products
                                            : Pair::given;
    require(out.kernel.pair != Pair::given || pair == "given", "unknown pair");
    require(shape == "exponential" || shape == "power", "unknown shape");
    out.kernel.shape = shape == "exponential" ? Shape::exponential : Shape::power;
    out.kernel.shift = shift;
    out.kernel.degree = degree;
    const bool is_given = out.kernel.pair == Pair::given;
    require(!is_given || (!Y && is_shared), "pairs that are given have one direction");
    require(is_given || !Y || Y->shape(1) == X.shape(1), "X and Y must have the same features");
    require(!(is_symmetric && Y), "symmetric pairs have no Y");
    require(is_given || is_symmetric || Y, "Y is missing");
    out.n = X.shape(0);
    out.p = is_given ? 0 : X.shape(1);
    out.X = out.X_array.data();
    out.Y = Y ? out.Y_array->data() : out.X;
    out.m = is_given ? X.shape(1) : Y ? Y->shape(0) : out.n;
    require(!is_symmetric || out.m == out.n, "symmetric pairs are square");
    out.stride = X.shape(1);
    out.is_symmetric = is_symmetric;
    out.is_shared = is_shared;
    out.scale = scale;
    return out;
}

template <class T>
void fill(const PyPairs& pairs, int order, py::array& out, int n_threads) {
    auto typed = out.cast<py::array_t<T, py::array::c_style>>();
    require(typed.ndim() == 2 && typed.shape(0) == pairs.n && typed.shape(1) == pairs.m,
            "out must have shape (n, m)");
    T* to = typed.mutable_data();
    const int64_t stride = pairs.m;
    run(n_threads, [&](Team& team) { kernel_matrix(team, pairs, order, to, stride); });
}

Doubles block(int64_t k, int64_t n, int64_t c) {
    return Doubles(std::vector<py::ssize_t>{k, n, c});
}

}  // namespace

void bind_kernel(py::module_& m) {
    py::class_<PyPairs>(m, "Pairs")
        .def(py::init(&pairs_of), py::arg("form"), py::arg("X").noconvert(),
             py::arg("Y").noconvert(), py::arg("is_symmetric"), py::arg("is_shared"),
             py::arg("scale") = 1.0)
        .def("diagonal",
             [](const PyPairs& pairs) {
                 require(pairs.is_symmetric, "only symmetric pairs have a diagonal");
                 Doubles out(pairs.n);
                 kernel_diagonal(pairs, out.mutable_data());
                 return out;
             })
        .def_property_readonly("n_rows", [](const PyPairs& pairs) { return pairs.n; })
        .def_property_readonly("n_columns", [](const PyPairs& pairs) { return pairs.m; })
        .def("matrix",
             [](const PyPairs& pairs, int order, py::array out, int n_threads) {
                 require(out.flags() & py::array::c_style, "out must be contiguous");
                 require(order == 0 || pairs.is_shared, "derivatives of one width only");
                 if (out.dtype().equal(py::dtype::of<float>()))
                     return fill<float>(pairs, order, out, n_threads);
                 require(out.dtype().equal(py::dtype::of<double>()), "out: float32 or float64");
                 fill<double>(pairs, order, out, n_threads);
             })
        .def(
            "products",
            [](const PyPairs& pairs, bool is_derivative, const Doubles& A, const MaybeDoubles& B,
               int n_threads) {
                require(A.ndim() == 2 && A.shape(0) == pairs.m, "A must have m rows");
                require(!B || (B->ndim() == 2 && B->shape(0) == pairs.n), "B must have n rows");
                require(!(B && pairs.is_symmetric), "symmetric pairs have no B");
                const int64_t D = is_derivative ? pairs.n_directions() : 1;
                const int64_t c = A.shape(1), d = B ? B->shape(1) : 0;
                Doubles out = block(D, pairs.n, c), back = block(D, pairs.m, d);
                Products io{A.data(), B ? B->data() : nullptr, c,
                            d,        out.mutable_data(),      back.mutable_data()};
                run(n_threads,
                    [&](Team& team) { kernel_products(team, pairs, is_derivative, io); });
                return py::make_tuple(out, back);
            },
            py::arg("is_derivative"), py::arg("A").noconvert(), py::arg("B").noconvert(),
            py::arg("n_threads"))
        .def(
            "sums",
            [](const PyPairs& pairs, const Doubles& P, const Doubles& Z, const MaybeDoubles& W,
               bool has_hess, int n_threads) {
                require(P.ndim() == 2 && P.shape(0) == pairs.n, "P must have n rows");
                require(Z.ndim() == 2 && Z.shape(0) == pairs.m && Z.shape(1) == P.shape(1),
                        "Z must have m rows and the columns of P");
                require(!W || (pairs.is_symmetric && W->ndim() == 2 && W->shape(0) == pairs.n &&
                               W->shape(1) == pairs.n),
                        "W must be (n, n), of symmetric pairs");
                const int64_t D = pairs.n_directions();
                Doubles grad(D), hess = matrix(D, D);
                double *g = grad.mutable_data(), *h = has_hess ? hess.mutable_data() : nullptr;
                const double *p = P.data(), *z = Z.data(), *w = W ? W->data() : nullptr;
                const int64_t c = P.shape(1);
                run(n_threads, [&](Team& team) { kernel_sums(team, pairs, p, z, c, w, g, h); });
                return py::make_tuple(grad, hess);
            },
            py::arg("P").noconvert(), py::arg("Z").noconvert(), py::arg("W").noconvert(),
            py::arg("has_hess"), py::arg("n_threads"));
}
