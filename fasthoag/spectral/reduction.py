"""A symmetric matrix made tridiagonal by LAPACK's ``sytrd``. SciPy's own wrapper keeps Python's
lock meanwhile, so that threads wait for each other, and Ctrl-C for all of them; what SciPy has for
Cython does not."""

import ctypes
from functools import cache
from typing import Any

import numpy as np
from scipy.linalg import cython_lapack, lapack

from fasthoag.types import Array

PREFIX = {np.dtype(np.float32): "s", np.dtype(np.float64): "d"}
WORK = 64  # numbers for each row: blocks as large as LAPACK takes them


def reduced(A: Array) -> tuple[Array, Array, Array, Array]:
    """(reflections, diagonal, what is beside it, their factors) of a symmetric matrix in C order,
    which is overwritten: the lower triangle of what LAPACK calls A, and d, e and tau.

    Examples
    --------
    >>> _, diagonal, beside, _ = reduced(np.array([[2.0, 1.0], [1.0, 3.0]]))
    >>> diagonal, beside
    (array([2., 3.]), array([1.]))
    """
    n, function = len(A), function_of(PREFIX[A.dtype] + "sytrd")
    if function is None:
        sytrd, *_ = lapack.get_lapack_funcs(("sytrd",), (A,))
        packed, d, off, tau, failed = sytrd(A.T, lower=1, lwork=WORK * n, overwrite_a=1)
    else:
        packed, d, off, tau, work = A.T, *(np.empty(k, A.dtype) for k in (n, n, n, WORK * n))
        sizes, info = [ctypes.byref(ctypes.c_int(k)) for k in (n, WORK * n)], ctypes.c_int()
        arrays = [ctypes.c_void_p(one.ctypes.data) for one in (packed, d, off, tau, work)]
        matrix, *others = arrays
        function(b"L", sizes[0], matrix, sizes[0], *others, sizes[1], ctypes.byref(info))
        off, tau, failed = off[: n - 1], tau[: n - 1], info.value
    if failed:
        raise ValueError(f"LAPACK refused argument {-failed} of sytrd")
    return packed, d, off, tau


@cache
def function_of(name: str) -> Any:
    """LAPACK's function of this name as SciPy has it for Cython, or None where that takes other
    integers than C's."""
    capsule, python = cython_lapack.__pyx_capi__[name], ctypes.pythonapi
    python.PyCapsule_GetName.restype = ctypes.c_char_p
    python.PyCapsule_GetName.argtypes = [ctypes.py_object]
    python.PyCapsule_GetPointer.restype = ctypes.c_void_p
    python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    signature = python.PyCapsule_GetName(capsule)
    if signature.count(b"int *") != 4 or signature.count(b"*") != 10:
        return None
    address = python.PyCapsule_GetPointer(capsule, signature)
    return ctypes.CFUNCTYPE(None, ctypes.c_char_p, *[ctypes.c_void_p] * 9)(address)
