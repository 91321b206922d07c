"""Files in and out: data sets (LIBSVM text, or ``.npz`` with ``.npy``) and fitted models."""

from fasthoag.io.data_set import load_data
from fasthoag.io.dual_model import DualModel
from fasthoag.io.liblinear import save_liblinear
from fasthoag.io.model import Model
from fasthoag.io.model_file import load_model, save_model
from fasthoag.io.svmlight import load_svmlight

__all__ = [
    "DualModel",
    "Model",
    "load_data",
    "load_model",
    "load_svmlight",
    "save_liblinear",
    "save_model",
]
