"""Least squares at all strengths λφ of a ray from one Krylov run, the folds as columns.

With the intercept projected out, the rows of fold f have ``A = Xᵀ S (I - 1sᵀ/Σs) X`` and every
solution is one of ``(A + λΦ) u = b``. Lanczos' method in the metric of Φ makes U with ``Uᵀ Φ U =
I`` and ``Uᵀ A U`` tridiagonal, T, from products with A alone; the solution in the span of U is
``u(λ) = U y(λ), (T + λ) y = β e₁``, for every λ at no product (Golub & Kahan's bidiagonalisation of
the weighted X, squared).

Rows that judge have residuals ``r₀ - P y(λ)``, P their predictions of U, so that f and its
derivatives are functions of T and of the Gram matrix of (r₀, P). That takes one number a step of
every row that judges, about what the recurrences of 64 shifts would, and gives f at every λ and not
at 64. The coefficients come back from U, or where rows are fewer from the predictions of U by all
rows: ``Φ U = Xᵀ S V``, with V made of them by the same recurrence.

References
----------
Paige & Saunders (1982), "LSQR", ACM TOMS 8; Frommer & Maass (1999), "Fast CG-based methods for
Tikhonov-Phillips regularization", SIAM J. Sci. Comput. 20.
"""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from fasthoag.design.rows import TRAIN, to_host
from fasthoag.units import column_dots

CHUNK = 1 << 14  # numbers of a block that stay in a cache while a recurrence visits them
ORTHOGONAL = 1 << 21  # numbers of U up to which its columns are made orthogonal to all before
ENDED = 1e-14  # of the largest part of T: what is left of a column is rounding
SQUARED = "squared"


def pieces(xp, block):
    """Slices of the coefficients of a block."""
    n, m = block.shape
    step = max(1, CHUNK // m) if xp is np else n
    return [slice(k, k + step) for k in range(0, n, step)]


class Lanczos:
    """The run: `step` makes one product of all folds. `alpha` and `beta` are the diagonal of T and,
    from the norm of b on, what is beside it; one entry a step, (n_folds,)."""

    def __init__(self, inner, most_steps):
        self.inner, self.rows, self.lam = inner, inner.rows, inner.strengths(np.zeros(1))
        design = self.design = inner.design
        xp, n = design.xp, design.shape[0]
        is_penalised = self.lam > 0
        one = xp.ones_like(self.lam)
        self.over_lam = xp.where(is_penalised, 1 / xp.where(is_penalised, self.lam, one), 0 * one)
        inverse = to_host(self.over_lam)[to_host(is_penalised)]
        # the inverse of the strength where that is one
        self._common = float(inverse[0]) if np.ptp(inverse) == 0 else None
        # of targets 0 and no offset: the gradient is the product, and predictions come with it
        self._zero = design.place(np.zeros(n), self.rows.weight, self.rows.mask)
        found = self.rows.loss_grad(inner.loss, inner.null.W)
        self.Z0 = found.Z
        self._means = self._column_means() if design.has_intercept else None
        self._s, self._last = self._without_intercept(-found.grad), None
        size = np.sqrt(column_dots(self._s, self.over_lam * self._s))
        self.alpha, self.beta = [], [size]
        self._size, self._last_over = size, 0 * size  # columns are kept unscaled
        self._where = pieces(xp, self._s)
        n_numbers = self.lam.shape[0] * len(size) * most_steps
        self.is_orthogonal = n_numbers <= ORTHOGONAL
        self._all = []

    def _column_means(self):
        """Means of the columns over the rows that train, (n_coef, n_folds), in units of the
        constant of the intercept's column."""
        like = self.rows.terms(SQUARED, 2, TRAIN, self.rows.at_constant(self.inner.null.b))
        sums = self.design.rmatvec(like)
        return sums / sums[-1:, :]

    @property
    def n_steps(self):
        return len(self.alpha)

    @property
    def is_ended(self):
        """Whether every column has come to its end: all is exact."""
        return not np.any(self.beta[-1])

    def centred(self, u, dots=None):
        """Coefficients with the intercept that takes the mean of their predictions away; `dots` are
        their products with the means of the columns."""
        if self._means is not None:
            u[-1:, :] = 0 * u[-1:, :]
            dots = column_dots(self._means, u) if dots is None else dots
            u[-1:, :] = -self.design.xp.asarray(dots)[None, :]
        return u

    def step(self):
        """(u, predictions of u): one more column of U; T grows."""
        xp, s, last, where = self.design.xp, self._s, self._last, self._where
        unit = over(self._size)
        u, dots, factor = xp.zeros_like(s), 0.0, self._tiled(unit)
        for k in where:
            u[k] = self._over(s[k] * factor[: s[k].shape[0]], k)
            dots = dots + (0.0 if self._means is None else column_dots(self._means[k], u[k]))
        u = self.centred(u, dots)
        found = self._zero.loss_grad(SQUARED, u)
        v = self._without_intercept(found.grad)
        alpha, squared = sum(column_dots(u[k], v[k]) for k in where), 0.0
        a, b = self._tiled(alpha * unit), self._tiled(self.beta[-1] * self._last_over)
        for k in where:
            n, part = s[k].shape[0], v[k]
            part = part - a[:n] * s[k]
            part = part if last is None else part - b[:n] * last[k]
            v[k] = part
            squared = squared + column_dots(part, self._over(part, k))
        if self.is_orthogonal:
            self._all.append(s * xp.asarray(unit))
            squared = self._orthogonalise(v)
        self.alpha.append(alpha)
        size = np.sqrt(np.maximum(squared, 0.0))
        size = np.where(size > ENDED * np.max(np.abs(self.alpha), axis=0), size, 0.0)
        self._last, self._last_over = s, unit
        self._s, self._size = v, size
        self.beta.append(size)
        return u, found.Z

    def _without_intercept(self, v):
        """A gradient, whose part for the intercept is 0 up to rounding."""
        if self._means is not None:
            v[-1:, :] = 0 * v[-1:, :]
        return v

    def _tiled(self, values):
        """Numbers of columns in every row of a piece: NumPy is slow where it repeats few."""
        rows = self._where[0].stop
        values = np.broadcast_to(np.asarray(values, np.float64), self.beta[0].shape)
        return self.design.xp.asarray(np.tile(values, (rows, 1)))

    def _over(self, block, k):
        """A piece times the inverses of its strengths."""
        return block * (self.over_lam[k] if self._common is None else self._common)

    def _orthogonalise(self, v):
        """Takes out of `v` what rounding left of the columns before, and gives the squares of what
        is left."""
        for _ in range(2):
            for s in self._all:
                v -= self.design.xp.asarray(column_dots(s, self.over_lam * v)) * s
        return column_dots(v, self.over_lam * v)

    def tridiagonal(self):
        """T of every fold, (n_folds, k, k)."""
        alpha, beta = (
            np.array(self.alpha).T,
            np.array(self.beta[1:-1]).reshape(-1, len(self.beta[0])).T,
        )
        k = alpha.shape[1]
        T = np.zeros((len(alpha), k, k))
        i = np.arange(k)
        T[:, i, i] = alpha
        T[:, i[1:], i[:-1]] = T[:, i[:-1], i[1:]] = beta
        return T


def over(size):
    """1 / size, 0 for 0."""
    return np.where(size > 0, 1 / np.where(size > 0, size, 1.0), 0.0)


# ---- the coefficients of a combination of U ----


class OfCoefficients:
    """U itself, in single precision: what comes out is a start."""

    def __init__(self, run):
        self.run, self.columns = run, []

    def add(self, u, Z):
        xp = self.run.design.xp
        self.columns.append(xp.asarray(u, dtype=xp.float32))

    def combined(self, y):
        """``U y`` for coordinates y (n_folds, k)."""
        xp, total = self.run.design.xp, 0.0
        for u, of_folds in zip(self.columns, y.T, strict=True):
            total = total + u * xp.asarray(np.ascontiguousarray(of_folds))
        return total


class OfRows:
    """Predictions of U by all rows."""

    def __init__(self, run):
        self.run, self.columns = run, []

    def add(self, u, Z):
        single = self.run.rows.map(lambda block, z: block.xp.asarray(z, dtype=block.xp.float32), Z)
        self.columns.append(single)

    def combined(self, y):
        """``U y`` for coordinates y (n_folds, k): one pass."""
        run = self.run
        T = np.array(run.alpha), np.array(run.beta)
        V = run.rows.map(partial(weighted_sum, *T, y), run.Z0, *self.columns[:-1])
        u = run.over_lam * run.design.rmatvec(V)
        return run.centred(u)


def weighted_sum(alpha, beta, y, block, Z0, *columns):
    """``S V y`` from targets and predictions of U by the recurrence of T."""
    asarray = block.xp.asarray
    now, last = (block.y - Z0) * asarray(over(beta[0])), 0.0
    total = asarray(y[:, 0].copy()) * now
    for j, Z in enumerate(columns):
        found = Z - asarray(alpha[j]) * now - (asarray(beta[j]) * last if j else 0.0)
        now, last = found * asarray(over(beta[j + 1])), now
        total = total + asarray(y[:, j + 1].copy()) * now
    return block.weights(TRAIN) * total


# ---- the rows that judge ----


class Judged:
    """Residuals of the null model and predictions of U by the rows of a bound criterion, every fold
    its own, and their Gram matrix."""

    def __init__(self, bound):
        self.is_shared, self.rows = bound.is_shared, bound.rows
        self.chunks, self.waiting = [], []
        self.picks = self.rows.map(partial(picked, bound.part))
        self.gram = np.zeros((self.rows.n_folds, 0, 0))
        at_null = self.rows.at_constant(bound.null_b)
        self._keep(self.rows.map(lambda block, Z: block.y - Z, at_null))

    def _keep(self, Z):
        self.waiting.append(self.rows.map(gathered, self.picks, Z))

    def add(self, u, Z):
        """A column of U, with its predictions by the rows that train."""
        self._keep(Z if self.is_shared else self.rows.design.matvec(u))

    def grow(self):
        """Takes those that came into the Gram matrix (n_folds, k + 1, k + 1)."""
        rows, k = self.rows, self.gram.shape[1]
        if not self.waiting:
            return
        new = rows.map(lambda block, *some: block.xp.concat(some, axis=0), *self.waiting)
        m, self.waiting = len(self.waiting), []
        gram = np.zeros((len(self.gram), k + m, k + m))
        gram[:, :k, :k], at = self.gram, 0
        for chunk, size in [*self.chunks, (new, m)]:
            part = rows.reduce(products, self.picks, new, chunk)
            gram[:, k:, at : at + size] = part
            gram[:, at : at + size, k:] = part.transpose(0, 2, 1)
            at += size
        self.chunks.append((new, m))
        self.gram = gram


def picked(part, block):
    """Numbers and roots of the weights of the rows of a part, for every fold."""
    xp, weights = block.xp, block.weights(part)
    found = []
    for f in range(weights.shape[1]):
        of_fold = weights[:, f]
        index = xp.nonzero(of_fold > 0)[0]
        found.append((index, xp.sqrt(xp.take(of_fold, index, axis=0))))
    return found


def gathered(block, picks, Z):
    """Of every fold its own rows, one fold after another, times the roots of their weights, (1,
    n)."""
    xp = block.xp
    found = [root * xp.take(Z[:, f], index, axis=0) for f, (index, root) in enumerate(picks)]
    return xp.concat(found, axis=0)[None, :]


def products(block, picks, A, B):
    """A Bᵀ of every fold, (n_folds, a, b)."""
    ends = np.cumsum([0, *(index.shape[0] for index, _ in picks)])
    spans = [slice(int(a), int(b)) for a, b in pairwise(ends)]
    return block.xp.stack([A[:, span] @ B[:, span].T for span in spans], axis=0)


# ---- the curve ----


@dataclass(frozen=True, eq=False)
class Curve:
    """f(θ) at λ = exp(θ) and its derivatives, exact in the span of the steps taken.

    In the eigenvectors Q of T, ``y = Q (b / (e + λ))`` and ``2 f = r₀ᵀr₀ - 2 cᵀy + yᵀMy``; all
    (n_folds, k) or (n_folds, k, k)."""

    e: np.ndarray
    Q: np.ndarray
    b: np.ndarray
    c: np.ndarray
    M: np.ndarray
    at_null: np.ndarray  # r₀ᵀr₀ (n_folds,)
    beyond: np.ndarray  # β of the next step (n_folds,)

    def coordinates(self, theta):
        """y of every fold, (n_folds, k)."""
        return np.einsum("fij,fj->fi", self.Q, self.b / (self.e + np.exp(theta)))

    def at(self, theta):
        """(values of folds, ∂f/∂θ, ∂²f/∂θ²) at one θ."""
        lam = np.exp(theta)
        over_sum = 1 / (self.e + lam)
        y = self.b * over_sum
        first = -lam * y * over_sum
        second = first * (1 - 2 * lam * over_sum)
        left = np.einsum("fij,fj->fi", self.M, y) - self.c  # ∂f/∂y
        values = 0.5 * (self.at_null + ((left - self.c) * y).sum(axis=1))
        curved = np.einsum("fi,fij,fj->", first, self.M, first)
        return values, float((left * first).sum()), float((left * second).sum() + curved)

    def values(self, thetas):
        """f at many θ, (m,)."""
        lam = np.exp(thetas)
        total = np.zeros(len(lam))
        for e, b, c, M, at_null in zip(self.e, self.b, self.c, self.M, self.at_null, strict=True):
            y = b[:, None] / (e[:, None] + lam)
            total += 0.5 * (at_null - 2 * c @ y + ((M @ y) * y).sum(axis=0))
        return total


def curve_of(run, judged):
    """The `Curve` of the steps so far."""
    judged.grow()
    e, Q = np.linalg.eigh(run.tridiagonal())
    gram, k = judged.gram, run.n_steps
    Qt = np.swapaxes(Q, 1, 2)
    M = Qt @ gram[:, 1 : k + 1, 1 : k + 1] @ Q
    c = np.einsum("fij,fj->fi", Qt, gram[:, 1 : k + 1, 0])
    e = np.maximum(e, 0.0)  # of rounding
    return Curve(e, Q, run.beta[0][:, None] * Q[:, 0, :], c, M, gram[:, 0, 0], run.beta[-1])
