// Losses, what rows carry, and what is computed from both.
#include "python.hpp"

namespace {

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

// by the addresses of two C functions of the shape of LossTable
Loss compiled_loss(intptr_t value_d1, intptr_t derivative) {
    Loss loss;
    loss.value_d1_of = reinterpret_cast<decltype(loss.value_d1_of)>(value_d1);
    loss.derivative_of = reinterpret_cast<decltype(loss.derivative_of)>(derivative);
    return loss;
}

Loss multinomial_loss(int n_classes, double smoothing) {
    require(n_classes >= 2, "the multinomial loss needs at least 2 classes");
    Loss loss;
    loss.a[0] = smoothing;
    loss.n_classes = n_classes;
    return loss;
}

Loss mixed_loss(Loss loss, const Loss& other, double weight) {
    require(
        loss.weight == 1.0 && other.weight == 1.0 && loss.n_classes == 1 && other.n_classes == 1,
        "a mix is of two losses of one output");
    loss.other = other;
    std::copy(other.a, other.a + 2, loss.other_a);
    loss.weight = weight;
    return loss;
}

std::vector<std::string> loss_names() {
    std::vector<std::string> names;
#define FH_ROW(name, type) names.push_back(#name);
    FH_LOSSES(FH_ROW)
#undef FH_ROW
    return names;
}

PyRows make_rows(const Doubles& y, const MaybeDoubles& weight,
                 const std::optional<Array<uint8_t>>& mask, const MaybeDoubles& offset) {
    PyRows rows;
    rows.n_rows = y.size();
    rows.y = y.data();
    if (weight) {
        require(weight->size() == rows.n_rows, "weight must have one value a row");
        rows.weight = weight->data();
    }
    if (mask) {
        require(mask->ndim() == 2 && mask->shape(0) == rows.n_rows && mask->shape(1) > 0,
                "mask must have one row a row");
        rows.mask = mask->data();
        rows.n_folds = int(mask->shape(1));
    }
    if (offset) {
        require(offset->ndim() <= 2 && offset->shape(0) == rows.n_rows && offset->size() > 0,
                "offset must have one value a row, or one for each class");
        rows.offset = offset->data();
        rows.n_offsets = offset->ndim() == 2 ? int(offset->shape(1)) : 1;
    }
    rows.y_array = y;
    rows.weight_array = weight;
    rows.mask_array = mask;
    rows.offset_array = offset;
    return rows;
}

std::vector<int> folds(const PyRows& rows, const Loss& loss, int64_t m) {
    return fold_of_columns(int(m), loss.n_classes, rows.n_folds);
}

void check_predictions(const PyRows& rows, const Doubles& Z) {
    require(Z.ndim() == 2 && Z.shape(0) == rows.n_rows, "Z must have one row a row");
}

Doubles terms(const PyRows& rows, const Loss& loss, int order, int part, const Doubles& Z,
              int n_threads) {
    check_predictions(rows, Z);
    const int m = int(Z.shape(1));
    const std::vector<int> fold = folds(rows, loss, m);
    Doubles out = matrix(rows.n_rows, m);
    double* o = out.mutable_data();
    const double* z = Z.data();
    run(n_threads, [&](Team& team) {
        row_terms(team, rows, loss, order, uint8_t(part), fold.data(), m, z, o);
    });
    return out;
}

Doubles sums(const PyRows& rows, const Loss& loss, int part, const Doubles& Z, int n_threads) {
    check_predictions(rows, Z);
    const int m = int(Z.shape(1));
    const std::vector<int> fold = folds(rows, loss, m);
    Doubles out(m);
    double* o = out.mutable_data();
    const double* z = Z.data();
    run(n_threads,
        [&](Team& team) { loss_sum(team, rows, loss, uint8_t(part), fold.data(), m, z, o); });
    return out;
}

struct LossGrad {
    Doubles value, other, Z;
    MaybeDoubles grad;
};

LossGrad loss_and_gradient(const PyRows& rows, PyMatrix& X, const Loss& loss, const Doubles& W,
                           int part, bool has_grad, int n_threads) {
    X.check_coef(W, "W must have one row a coefficient");
    require(rows.n_rows == X.n_rows(), "the rows must be those of X");
    const int m = int(W.shape(1));
    require(m % rows.n_offsets == 0, "columns must come in units of the offset's");
    const std::vector<int> fold = folds(rows, loss, m);
    LossGrad out{Doubles(m), Doubles(m), matrix(X.n_rows(), m), {}};
    if (has_grad) out.grad = matrix(X.n_coef(), m);
    LossSums values{out.value.mutable_data(), out.other.mutable_data()};
    double *z = out.Z.mutable_data(), *g = has_grad ? out.grad->mutable_data() : nullptr;
    const double* w = W.data();
    run(n_threads, [&](Team& team) {
        loss_grad(X, team, rows, loss, uint8_t(part), fold.data(), m, w, values, g, z);
    });
    return out;
}

}  // namespace

void bind_rows(py::module_& m) {
    py::class_<Loss>(m, "Loss")
        .def(py::init(&make_loss), py::arg("name"), py::arg("a0"), py::arg("a1"))
        .def(py::init(&compiled_loss), py::arg("value_d1"), py::arg("derivative"))
        .def(py::init(&multinomial_loss), py::arg("n_classes"), py::arg("smoothing"))
        .def(py::init(&mixed_loss), py::arg("loss"), py::arg("other"), py::arg("weight"))
        .def_readonly("n_classes", &Loss::n_classes);
    m.def("loss_names", &loss_names);
    py::class_<LossGrad>(m, "LossGrad")
        .def_readonly("value", &LossGrad::value)
        .def_readonly("other", &LossGrad::other)
        .def_readonly("grad", &LossGrad::grad)
        .def_readonly("Z", &LossGrad::Z);
    py::class_<PyRows>(m, "Rows")
        .def(py::init(&make_rows), py::arg("y").noconvert(), py::arg("weight").noconvert(),
             py::arg("mask").noconvert(), py::arg("offset").noconvert())
        .def("loss_grad", &loss_and_gradient, py::arg("matrix"), py::arg("loss"),
             py::arg("W").noconvert(), py::arg("part"), py::arg("has_grad"), py::arg("n_threads"))
        .def("terms", &terms, py::arg("loss"), py::arg("order"), py::arg("part"),
             py::arg("Z").noconvert(), py::arg("n_threads"))
        .def("sums", &sums, py::arg("loss"), py::arg("part"), py::arg("Z").noconvert(),
             py::arg("n_threads"));
}
