"""Arrays between the two memories: estimators answer where the rows of the caller are."""

from fasthoag.design import is_on_device, to_host


def on_host(array):
    """`array` as NumPy if it is CuPy's; anything else as it is."""
    return to_host(array) if is_on_device(array) else array


def beside(X, array):
    """`array` in the memory that X is in."""
    if not is_on_device(X):
        return on_host(array)
    if is_on_device(array):
        return array
    from fasthoag.design.gpu import find_device

    return find_device().xp.asarray(array)


def check_there(X, name):
    """Raises ValueError for a sparse matrix on a GPU whose arrays are not those of a matrix."""
    from fasthoag.design.gpu.matrix import check_if_sparse

    check_if_sparse(X, name)


def rows_here(X, name):
    """X in this memory, where dense rows of a GPU are copied to."""
    if not is_on_device(X):
        return X
    from fasthoag.design.gpu.matrix import Csr

    if isinstance(X, Csr):
        raise ValueError(f"{name} is sparse and on the GPU; pass {name}.get(), or {name}.toarray()")
    return to_host(X)
