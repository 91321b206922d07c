"""The coefficient map w = E u: from the coefficients of a design to those of its user.

A design may hold its columns renumbered, scaled, shifted, merged or turned: X_u = X E. Solvers,
tolerances and damping live in u, whose units are the design's; results are in w. Predictions are
the same, X w = X_u u. With an intercept the last coefficient of both is the intercept, and its
column is not stored: it is 1 beside X and the constant `intercept` beside X_u.

=============  ======================  ======================================  ==================
map            w = E u                 stored columns of X_u                   strengths λ
=============  ======================  ======================================  ==================
`Identity`     w = u                   those of X                              any
`Permute`      w = u[rank]             X[:, order]                             any
`Scale`        w = scale u             scale_j x_j                             any
`Shift`        b = u_b - shift·u       x_j - shift_j, dense where shifted      0 for the intercept
`Merge`        w_j = weight_j u_g      proportional columns of a group as one  one for a group
`RowSpace`     w = V u                 X V, as many as X has rank              one for all features
`Compose`      w = E_1 E_2 ... u       X E_1 E_2 ...                           what its maps ask
=============  ======================  ======================================  ==================

A penalty ½ Σ λ_j w_j² is ½ Σ spread(λ)_k u_k², and its minimiser over u gives the one over w. Where
that does not hold `spread` raises ValueError.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp

from fasthoag.threads import computed_once

SAME = 1e-12  # relative difference of equal strengths: they are products of exponentials


class CoefficientMap(Protocol):
    """What every map does with blocks (n,) or (n, m), one row a coefficient.

    A result may be the argument itself; no argument is changed.
    """

    n_user: int  # coefficients in w, rows of E
    n_design: int  # coefficients in u, columns of E
    intercept: float  # of the design's column where the user's is 1; means nothing without one

    def apply(self, u):
        """The user's coefficients, w = E u."""

    def pull(self, g):
        """The gradient with respect to u of what has gradient `g` with respect to w, Eᵀ g."""

    def solve(self, w):
        """The u with E u = w, the one of least ``||E u - w||_2`` where there is none."""

    def spread(self, lam):
        """The design's strengths, the diagonal of Eᵀ diag(λ) E.

        `lam` is (n_user,) or (n_user, k): sets of strengths, or their derivatives, as it is linear.
        Raises ValueError where the matrix is not diagonal or the minimiser would be another one.
        """

    def collect(self, d):
        """The adjoint of `spread`, (E∘E) d: derivatives by the design's strengths to the user's.

        Products u∘q, which are such derivatives, too.
        """

    def unspread(self, d):
        """The user's strengths that weigh what `d` weighs here: ``spread(unspread(d)) = d``."""

    def of_rows(self, X, intercept=1.0):
        """The stored columns of X E for an array or CSR matrix X (n_rows, n_features).

        `intercept` is the constant beside X. Values are float32 or float64 and stay so.
        """


def _each_row(factor, block):
    """`factor`, one number for each row of `block`, in the shape that multiplies it."""
    return factor if block.ndim == 1 else factor[:, None]


def _on_features(product, block, n_features):
    """`product` of the rows of features; the row of an intercept stays as it is."""
    if len(block) == n_features:
        return product(block)
    return np.concatenate([product(block[:n_features]), block[n_features:]])


def _sorted(X):
    """X, a new matrix; if sparse, with its column numbers in order, as kernels need them."""
    if sp.issparse(X):
        X.sort_indices()
    return X


# What `Merge` and `RowSpace` have in common: on features E is a basis with orthonormal columns.


def _n_rows(E):
    return E.basis.shape[0] + E.has_intercept


def _n_columns(E):
    return E.basis.shape[1] + E.has_intercept


def _expand(E, u):
    return _on_features(E.basis.__matmul__, u, E.basis.shape[1])


def _project(E, g):
    return _on_features(E.basis.T.__matmul__, g, E.basis.shape[0])


def _collect(E, d):
    return _on_features((E.basis**2).__matmul__, d, E.basis.shape[1])


def _check_equal(name, whom, lam, members, first):
    """Raises ValueError unless λ_j = λ_first[j] for all j in `members`; inf equals inf."""
    like = first[members]
    differs = ~np.isclose(lam[members], lam[like], rtol=SAME, atol=0)
    if differs.any():
        row, *column = np.argwhere(differs)[0]
        j, i = members[row], like[row]
        raise ValueError(
            f"{name} needs one strength for {whom}; features {i} and {j} have "
            f"{lam[(i, *column)]} and {lam[(j, *column)]}. Use a penalty with one, or no {name}."
        )


@dataclass(frozen=True, eq=False)
class Identity:
    """The map that changes nothing, w = u.

    Parameters
    ----------
    n : int
        Number of coefficients, an intercept included.

    Examples
    --------
    >>> Identity(2).apply(np.array([3.0, 4.0]))
    array([3., 4.])
    """

    n: int
    intercept = 1.0

    def apply(self, u):
        return u

    def of_rows(self, X, intercept=1.0):
        return X

    n_user = n_design = property(lambda E: E.n)
    pull = solve = spread = collect = unspread = apply


@dataclass(frozen=True, eq=False)
class Permute:
    """Features in another order, an intercept stays last: u_k = w_order[k].

    Parameters
    ----------
    order, rank : array of int, shape (n_features,)
        The user's number of every feature of the design, and the inverse.
    has_intercept : bool

    Examples
    --------
    >>> order = np.array([2, 0, 1])
    >>> Permute(order, np.argsort(order), False).apply(np.array([5.0, 6.0, 7.0]))
    array([6., 7., 5.])
    """

    order: Any
    rank: Any
    has_intercept: bool
    intercept = 1.0

    def apply(self, u):
        w = u.copy()
        w[: len(self.rank)] = u[self.rank]
        return w

    def pull(self, g):
        u = g.copy()
        u[: len(self.order)] = g[self.order]
        return u

    def of_rows(self, X, intercept=1.0):
        return _sorted(X[:, self.order])

    n_user = n_design = property(lambda E: len(E.order) + E.has_intercept)
    solve = spread = pull  # E is orthogonal
    collect = unspread = apply


@dataclass(frozen=True, eq=False)
class Scale:
    """Coefficients in other units, w_j = scale_j u_j.

    Parameters
    ----------
    scale : array, shape (n_user,)
        Positive. With an intercept the last one is its own: the constant of the design's column.

    Examples
    --------
    >>> Scale(np.array([2.0, 10.0])).spread(np.array([1.0, 1.0]))
    array([  4., 100.])
    """

    scale: Any

    def __post_init__(self):
        if not (self.scale > 0).all():
            raise ValueError(
                "Scale needs positive factors; "
                f"found {self.scale[~(self.scale > 0)][0]}. Use 1 for a column that stays as it is."
            )

    def apply(self, u):
        return _each_row(self.scale, u) * u

    def solve(self, w):
        return w / _each_row(self.scale, w)

    def spread(self, lam):
        return self.apply(self.apply(lam))  # twice, as squares of factors may overflow

    def unspread(self, d):
        return self.solve(self.solve(d))

    def of_rows(self, X, intercept=1.0):
        if not sp.issparse(X):
            return np.multiply(X, self.scale[: X.shape[1]], out=np.empty_like(X))
        X = X.copy()
        X.data *= self.scale[X.indices]
        return X

    n_user = n_design = property(lambda E: len(E.scale))
    intercept = property(lambda E: float(E.scale[-1]))
    pull, collect = apply, spread  # E is diagonal


@dataclass(frozen=True, eq=False)
class Shift:
    """A constant taken from every column, which the intercept makes up for: b = u_b - shift·u.

    Parameters
    ----------
    shift : array, shape (n_features,)
        Where the intercept beside X has another constant than 1, the shift is in units of it.

    Examples
    --------
    >>> Shift(np.array([100.0])).apply(np.array([2.0, 1.0]))
    array([   2., -199.])
    """

    shift: Any
    intercept = 1.0

    def apply(self, u):
        w = u + 0.0  # a copy that is never of integers
        w[-1] -= self.shift @ u[:-1]
        return w

    def pull(self, g):
        u = g + 0.0
        u[:-1] -= _each_row(self.shift, g) * g[-1]
        return u

    def solve(self, w):
        u = w + 0.0
        u[-1] += self.shift @ w[:-1]
        return u

    def spread(self, lam):
        if (lam[-1] != 0).any():
            raise ValueError(
                "Shift needs strength 0 for the intercept, which takes up the shift; "
                f"got {lam[-1]}. Leave the intercept out of the penalty, or do not shift columns."
            )
        return lam

    def collect(self, d):
        lam = d + 0.0
        lam[-1] += (self.shift * self.shift) @ d[:-1]
        return lam

    def unspread(self, d):
        return d

    def of_rows(self, X, intercept=1.0):
        where = np.flatnonzero(self.shift)
        if sp.issparse(X) and 2 * len(where) <= X.shape[1]:
            return _shifted(X, intercept * self.shift, where)
        X = X.toarray() if sp.issparse(X) else X
        # In float64 and rounded once: a float32 shift of a large offset would be another shift.
        return np.subtract(X, intercept * self.shift, out=np.empty_like(X))

    n_user = n_design = property(lambda E: len(E.shift) + 1)


def _shifted(X, shift, where):
    """A CSR matrix less a constant in the columns `where`; the others stay sparse."""
    rest = X.copy()
    is_shifted = np.isin(rest.indices, where)
    n = X.shape[0]
    dense = np.subtract(X[:, where].toarray(), shift[where]).astype(X.dtype)
    rest.data[is_shifted] = 0
    rest.eliminate_zeros()
    indptr = np.arange(n + 1, dtype=np.int64) * len(where)
    stored = sp.csr_array((dense.ravel(), np.tile(where, n), indptr), shape=X.shape)
    return _sorted(sp.csr_array(rest) + stored)


@dataclass(frozen=True, eq=False)
class Merge:
    """Proportional columns as one: w_j = a_j / ||a|| u_g where x_j = a_j x in group g.

    The least ``||w||_2`` for given predictions is shared out like this, so that with one strength
    for the group nothing is lost.

    Parameters
    ----------
    index : array of int, shape (n_features,)
        The group of every feature, 0 to n_groups - 1, none of them empty.
    weight : array, shape (n_features,)
        a_j / ||a||: the squares of a group sum to 1.
    has_intercept : bool

    Examples
    --------
    >>> Merge(np.array([0, 1, 0]), np.array([0.6, 1.0, 0.8]), False).apply(np.array([10.0, 2.0]))
    array([6., 2., 8.])
    """

    index: Any
    weight: Any
    has_intercept: bool
    intercept = 1.0

    def __post_init__(self):
        norms = np.sqrt(np.bincount(self.index, self.weight * self.weight))
        wrong = np.flatnonzero(~(abs(norms - 1) <= 1e-10))  # far above the rounding of a long sum
        if len(wrong):
            raise ValueError(
                f"Merge needs weights of norm 1 in every group; group {wrong[0]} has norm "
                f"{norms[wrong[0]]}. Divide the factors of a group by their norm."
            )

    @computed_once
    def basis(self):
        """E without the intercept, a CSR array with one entry a row."""
        entries = self.weight, self.index, np.arange(len(self.index) + 1)
        return sp.csr_array(entries, shape=(len(self.index), int(self.index.max()) + 1))

    def spread(self, lam):
        members = np.flatnonzero(self.weight)  # a column of zeros has w = 0 at any strength
        first = members[np.unique(self.index[members], return_index=True)[1]]
        _check_equal("Merge", "a group", lam, members, first[self.index])
        return np.concatenate([lam[first], lam[len(self.index) :]])

    def unspread(self, d):
        return _on_features(lambda v: v[self.index], d, self.basis.shape[1])

    def of_rows(self, X, intercept=1.0):
        return _sorted(X @ self.basis.astype(X.dtype, casting="same_kind"))

    n_user, n_design = property(_n_rows), property(_n_columns)
    apply, pull, solve, collect = _expand, _project, _project, _collect


@dataclass(frozen=True, eq=False)
class RowSpace:
    """Coefficients in an orthonormal basis of the rows of X: w = V u.

    With one strength for all features the minimiser is a combination of rows, so that nothing is
    lost, and n_rows coefficients are enough for any number of features.

    Parameters
    ----------
    basis : array, shape (n_features, rank)
        V, with orthonormal columns; `row_space` finds it.
    has_intercept : bool

    Examples
    --------
    >>> RowSpace(np.array([[0.6], [0.8]]), False).apply(np.array([10.0]))
    array([6., 8.])
    """

    basis: Any
    has_intercept: bool
    intercept = 1.0

    def spread(self, lam):
        n_features, rank = self.basis.shape
        members = np.flatnonzero(self.basis.any(axis=1))  # others have w = 0 at any strength
        first = members[:1].repeat(n_features)
        _check_equal("RowSpace", "all features", lam, members, first)
        return np.concatenate([lam[first[:rank]], lam[n_features:]])

    def unspread(self, d):
        squares = self.basis**2
        total = squares.sum(axis=1, keepdims=True)
        mean = squares / np.where(total > 0, total, 1)  # 0 for a feature that is 0 in all rows
        return _on_features(mean.__matmul__, d, self.basis.shape[1])

    def of_rows(self, X, intercept=1.0):
        basis = self.basis.astype(X.dtype, casting="same_kind")
        # no BLAS: with some the bits of a row depend on how many rows there are
        return X @ basis if sp.issparse(X) else np.einsum("ij,jk->ik", X, basis)

    n_user, n_design = property(_n_rows), property(_n_columns)
    apply, pull, solve, collect = _expand, _project, _project, _collect


def row_space(X, has_intercept):
    """The `RowSpace` of a dense X, by its singular value decomposition.

    Examples
    --------
    >>> row_space(np.array([[3.0, 4.0, 0.0], [6.0, 8.0, 0.0]]), True).n_design
    2
    """
    _, values, rows = np.linalg.svd(np.asarray(X, np.float64), full_matrices=False)
    noise = max(X.shape) * np.finfo(np.float64).eps * values.max(initial=0.0)
    return RowSpace(rows[values > noise].T, has_intercept)


@dataclass(frozen=True, eq=False)
class Compose:
    """Maps one after the other, E = E_1 E_2 ...

    `collect` is the product of those of the maps, which is the adjoint of `spread`; `solve` takes
    least squares map by map.

    Parameters
    ----------
    maps : sequence of CoefficientMap
        The first is nearest the user, the last nearest the design.

    Examples
    --------
    >>> both = Compose([Shift(np.array([100.0])), Scale(np.array([2.0, 1.0]))])
    >>> both.of_rows(np.array([[101.0], [99.0]])).ravel()
    array([ 2., -2.])
    """

    maps: Sequence[CoefficientMap]

    def __post_init__(self):
        if not len(self.maps):
            raise ValueError("Compose needs at least one map; got none. Use Identity(n).")
        for outer, inner in zip(self.maps, self.maps[1:], strict=False):
            if outer.n_design != inner.n_user:
                raise ValueError(
                    f"Compose needs maps that fit: {type(outer).__name__} leaves {outer.n_design} "
                    f"coefficients and {type(inner).__name__} takes {inner.n_user}. "
                    "Give them from the user to the design."
                )

    def apply(self, u):
        return reduce(lambda block, part: part.apply(block), reversed(self.maps), u)

    def pull(self, g):
        return reduce(lambda block, part: part.pull(block), self.maps, g)

    def solve(self, w):
        return reduce(lambda block, part: part.solve(block), self.maps, w)

    def spread(self, lam):
        return reduce(lambda strengths, part: part.spread(strengths), self.maps, lam)

    def collect(self, d):
        return reduce(lambda block, part: part.collect(block), reversed(self.maps), d)

    def unspread(self, d):
        return reduce(lambda strengths, part: part.unspread(strengths), reversed(self.maps), d)

    def of_rows(self, X, intercept=1.0):
        for part in self.maps:
            X, intercept = part.of_rows(X, intercept), intercept * part.intercept
        return X

    n_user = property(lambda E: E.maps[0].n_user)
    n_design = property(lambda E: E.maps[-1].n_design)
    intercept = property(lambda E: math.prod(part.intercept for part in E.maps))
