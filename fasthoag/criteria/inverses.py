"""What the criteria without held-out rows need of H⁻¹: leverages ``a = c h``, ``h_i = x_i' H⁻¹
x_i``, solves, and the derivatives that pass through it. By inverses where coefficients or rows are
few, by random probes where they are not.

All of them have: ``a``, ``e`` = 1 - a and ``v``, the square of the standard error of a, handles
(n_rows, 1); ``h`` where formulas without a need it; ``solve(b)``; ``pull(in_a, in_v)``, the
derivatives of f in the curvatures, a handle, and in the strengths, (n_coef, 1), from those in a and
v; errors of value and gradient; CG iterations.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fasthoag.criteria.probes import signs_of_rows, squared_errors_of_rows, through_root_of_rows
from fasthoag.design.rows import Curvature, to_host
from fasthoag.hypergradient import UNMOVED
from fasthoag.inner.cg import CONVERGED, Hessian, cg
from fasthoag.units import Units

FEW_COEFFICIENTS, FEW_ROWS = 2000, 1000  # up to which H or the rows' Gram matrix is inverted
# columns of the sketch: it serves some ten solves of many columns, each step of which it makes
# dearer (20 newsgroups, whole search, with 16, 32 and 64: 2.1, 1.5 and 1.9 s of processor time)
SKETCH = 32
CHUNK = 1 << 23  # numbers in one block of products
MOST_DENSE = 1 << 23  # numbers of X up to which its singular values are sought
MOST_WORK = 4e9  # and of products of them: about a second
MOST_FREE = 20  # coefficients without a penalty then


class View(NamedTuple):
    """Leverages as some of the probes have them: ``a``, ``e`` = 1 - a and ``v``."""

    a: Any
    e: Any
    v: Any


def are_few(n, p):
    """Whether rows or coefficients are few enough for leverages without probes."""
    return p <= FEW_COEFFICIENTS or n <= FEW_ROWS


def exact_way(inner, theta, lam):
    """What makes leverages without probes, called with (rows, curvature, lam, cache), or None."""
    n, p = inner.n_rows, inner.design.n_coef
    if _has_spectrum(inner, theta, lam):
        return Spectrum
    if n <= FEW_ROWS and (n < p or p > FEW_COEFFICIENTS):
        return InverseGram
    return InverseHessian if p <= FEW_COEFFICIENTS else None


def _has_spectrum(inner, theta, lam):
    """Whether every θ has the same singular vectors: least squares, and one strength times what is
    fixed."""
    n, p = inner.n_rows, inner.design.n_coef
    if not inner.loss.is_quadratic or len(theta) != 1 or inner.tuned:
        return False
    if not inner.penalty.has_hessian:  # ∂λ/∂θ tells
        return False
    if n * p > MOST_DENSE or n * p * min(n, p) > MOST_WORK:
        return False
    lam = to_host(lam)
    has_few_free = int((lam <= 0).sum()) <= MOST_FREE
    return has_few_free and np.array_equal(to_host(inner.strengths_jac(theta)), lam)


def column(rows, values):
    """The handle (n_rows, 1) of numbers on the host."""
    return rows.from_host(np.ascontiguousarray(values[:, None]))


class _Exact:
    """What the exact ways share: leverages with no error but that of rounding, relative
    `rounding`."""

    value_left = value_error = reached = rounding = spread = 0.0
    n_cg, is_solved = 0, True

    def halves(self):
        return []

    def take(self, rows, a, e):
        self.rows, self.a, self.e = rows, a, e
        self.v = rows.map(lambda block, a: block.xp.zeros_like(a), a)

    def bound_rounding(self, rounding, in_a):
        """The error of f from that of the leverages."""
        self.rounding = rounding
        slopes = self.rows.reduce(lambda block, d, a: block.xp.sum(abs(d * a)), in_a, self.a)
        self.value_error = min(1.0, rounding) * float(slopes)

    def grad_error(self, vjp):
        return 0.0

    def solutions(self):
        return None


def rounding_of(matrix, inverse):
    """The condition of what was inverted times the unit of rounding."""
    condition = np.linalg.norm(matrix, 1) * np.linalg.norm(inverse, 1)
    return np.finfo(np.float64).eps * float(condition)


@dataclass(frozen=True, eq=False)
class _Singular:
    """``A = U diag(σ) Vᵀ`` of weighted rows and columns over √f, free coefficients eliminated."""

    is_penalised: np.ndarray
    root: np.ndarray  # √f
    Z: np.ndarray
    taken: np.ndarray
    U2: np.ndarray  # squares of U
    sigma: np.ndarray
    V: np.ndarray
    rest: np.ndarray  # of the unit of a row, what no coefficient reaches
    free: np.ndarray  # of it, what the free coefficients take
    log_free: float


def _singular(A, lam, largest):
    from scipy.linalg import svd

    is_penalised = lam > 0
    root = np.sqrt(lam[is_penalised] / largest)
    Q, sizes, Z = svd(A[:, ~is_penalised], full_matrices=False)
    is_there = sizes > 1e-10 * sizes.max(initial=0.0)
    Q, Z, sizes = Q[:, is_there], Z[is_there] / sizes[is_there, None], sizes[is_there]
    A = A[:, is_penalised] / root
    taken, size = Q.T @ A, np.linalg.norm(A)
    U, sigma, V = svd(A - Q @ taken, full_matrices=False, check_finite=False, overwrite_a=True)
    is_there = sigma > 1e-14 * size  # the others are rounding and lie anywhere, along Q too
    U, sigma, V = U[:, is_there], sigma[is_there], V[is_there]
    free = (Q * Q).sum(axis=1)
    rest = 1.0 - free - (U * U).sum(axis=1)
    rest = np.maximum(rest, 0.0) if Q.shape[1] + len(sigma) < len(U) else 0.0 * rest
    log_free = 2 * float(np.log(sizes).sum())
    return _Singular(is_penalised, root, Z, taken, U * U, sigma, V, rest, free, log_free)


class Spectrum(_Exact):
    """By the singular values of X, once for all strengths λ f_j of least squares: ``a = Σ_k U_k²
    σ_k² / (σ_k² + λ)`` beside what the coefficients without a penalty take. `cache` keeps them."""

    def __init__(self, rows, curvature, lam, cache):
        lam = to_host(lam)[:, 0]
        self.lam = float(lam[lam > 0].max()) if (lam > 0).any() else 1.0
        if "spectrum" not in cache:
            weight = rows.to_host(curvature.values)
            cache["spectrum"] = _singular(np.sqrt(weight) * rows.design.dense(), lam, self.lam)
        self.known = s = cache["spectrum"]
        self.total = s.sigma**2 + self.lam
        shares, left = s.sigma**2 / self.total, self.lam / self.total
        a, e = s.free + s.U2 @ shares, s.rest + s.U2 @ left
        self.take(rows, column(rows, a), column(rows, e))
        self.slope = column(rows, s.U2 @ (shares * left))  # -∂a/∂ log λ
        self.h = self.v  # curvatures stand still: nobody asks what they would change
        smallest = np.sqrt(self.total.min(initial=np.inf))
        largest = float(s.sigma.max(initial=0.0) / smallest)
        self.relative = 10 * np.finfo(np.float64).eps * largest
        n_beyond = len(s.root) - len(s.sigma)
        self.log_det = s.log_free + float(np.log(self.total).sum())
        self.log_det += n_beyond * float(np.log(self.lam)) + 2 * float(np.log(s.root).sum())

    @property
    def inverse_diagonal(self):
        """Of H⁻¹ on the penalised coefficients, else 0."""
        s = self.known
        diagonal, squares = np.zeros(len(s.is_penalised)), s.V**2
        beyond = np.maximum(1 - squares.sum(axis=0), 0.0)
        inside = squares.T @ (1 / self.total) + beyond / self.lam
        diagonal[s.is_penalised] = inside / s.root**2
        return diagonal

    def solve(self, b):
        s = self.known
        b, root = to_host(b), s.root[:, None]
        x, free = np.zeros_like(b), s.Z @ b[~s.is_penalised]
        t = b[s.is_penalised] / root - s.taken.T @ free
        Vt = s.V @ t
        beyond, rounding = t - s.V.T @ Vt, 100 * np.finfo(np.float64).eps
        # a tiny λ would make rounding large
        beyond[:, np.linalg.norm(beyond, axis=0) <= rounding * np.linalg.norm(t, axis=0)] = 0.0
        t = s.V.T @ (Vt / self.total[:, None]) + beyond / self.lam
        x[s.is_penalised] = t / root
        x[~s.is_penalised] = s.Z.T @ (free - s.taken @ t)
        return self.rows.design.xp.asarray(x)

    def pull(self, in_a, in_v):
        """Derivatives in the curvatures, which no coefficient changes, and in the strengths: a
        vector that has the right product with λ."""
        self.bound_rounding(self.relative, in_a)
        s, in_lam = self.known, np.zeros((len(self.known.is_penalised), 1))
        change = self.rows.reduce(lambda block, d, a: block.xp.sum(d * a), in_a, self.slope)
        in_lam[s.is_penalised, 0] = -float(change) / (self.lam * s.root**2 * max(1, len(s.root)))
        return self.v, self.rows.design.xp.asarray(in_lam)


class InverseHessian(_Exact):
    """By the inverse of H, (n_coef, n_coef). `cache` keeps the rows as a dense block between
    evaluations where that is small."""

    def __init__(self, rows, curvature, lam, cache):
        # here: it would double the time that importing fasthoag takes
        from scipy.linalg import cho_factor, cho_solve

        self.rows, self.design, self.c = rows, rows.design, curvature.values
        p = self.design.n_coef
        if self.design.shape[0] * p <= CHUNK and "X" not in cache:
            cache["X"] = self.design.matvec(self.design.xp.asarray(np.eye(p)))
        self.X = cache.get("X")
        H = self._gram(self.c) + np.diag(to_host(lam)[:, 0])
        # with a diagonal of 1, so that no unit of a feature counts
        diagonal = np.diag(H)
        scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        H = scale[:, None] * H * scale
        self.log_det = -2.0 * float(np.log(scale).sum())
        try:
            factor = cho_factor(H, lower=True)
            if np.diag(factor[0]).min() < 1e-6:  # nothing but rounding
                raise np.linalg.LinAlgError("singular")
            inverse = cho_solve(factor, np.eye(p))
            self.log_det += 2.0 * float(np.log(np.diag(factor[0])).sum())
        # coefficients without a penalty that the data do not determine
        except np.linalg.LinAlgError:
            values, vectors = np.linalg.eigh(H)
            is_there = values > 1e-13 * values[-1]
            inverse = (vectors[:, is_there] / values[is_there]) @ vectors[:, is_there].T
            self.log_det += float(np.log(values[is_there]).sum())
        self.condition = rounding_of(H, inverse)
        self.inverse = scale[:, None] * inverse * scale
        self.inverse_diagonal = np.diag(self.inverse)
        self.h = self._quadratic(self.inverse)
        a = rows.map(lambda _, c, h: c * h, self.c, self.h)
        self.take(rows, a, rows.map(lambda _, a: 1.0 - a, a))

    def _gram(self, c):
        """Xᵀ diag(c) X on the host."""
        if self.X is not None:
            return self.rows.reduce(lambda _, X, c: X.T @ (c * X), self.X, c)
        return to_host(self.design.gram(Curvature(c)))

    def _quadratic(self, A):
        """x_i' A x_i for every row, a handle."""
        rows, asarray = self.rows, self.design.xp.asarray
        if self.X is not None:
            A = asarray(A)
            return rows.map(
                lambda block, X: block.xp.sum((X @ A) * X, axis=1, keepdims=True), self.X
            )
        p, total = self.design.n_coef, None
        step, eye = max(1, CHUNK // self.design.shape[0]), np.eye(p)
        for k in range(0, p, step):
            left, right = (
                self.design.matvec(asarray(np.ascontiguousarray(M[:, k : k + step])))
                for M in (A, eye)
            )
            part = rows.map(_row_dots, left, right)
            total = part if total is None else rows.map(lambda _, a, b: a + b, total, part)
        return total

    def solve(self, b):
        return self.design.xp.asarray(self.inverse @ to_host(b))

    def pull(self, in_a, in_v):
        self.bound_rounding(self.condition, in_a)
        b = self.rows.map(lambda _, c, d: c * d, self.c, in_a)
        A = self.inverse @ self._gram(b) @ self.inverse
        change = self._quadratic(A)
        in_c = self.rows.map(lambda _, h, d, change: h * d - change, self.h, in_a, change)
        return in_c, -self.design.xp.asarray(np.diag(A)[:, None].copy())


def _row_dots(block, A, B):
    return block.xp.sum(A * B, axis=1, keepdims=True)


class InverseGram(_Exact):
    """By the inverse of the rows' Gram matrix I + D½ X Λ⁻¹ Xᵀ D½, (n_rows, n_rows), of few rows;
    coefficients without a penalty, G of them, are eliminated (universal kriging): with ``K = X Λ⁻¹
    Xᵀ`` and ``T = D½ (I + D½ K D½)⁻¹ D½``, ``X H⁻¹ Xᵀ = K - K T K + F S⁻¹ Fᵀ``, ``S = Gᵀ T G``,
    ``F = G - K T G``."""

    def __init__(self, rows, curvature, lam, cache):
        from scipy.linalg import cho_factor, cho_solve

        self.rows, self.design = rows, rows.design
        n, c = self.design.shape[0], rows.to_host(curvature.values)[:, 0]
        self.c, self.lam = c, to_host(lam)
        is_free = self.lam <= 0
        if is_free.sum() > n:
            raise ValueError(
                f"{is_free.sum()} coefficients have no penalty but there are {n} rows only; "
                "penalise more of them"
            )
        self.over_lam = np.where(is_free, 0.0, 1 / np.where(is_free, 1.0, self.lam))
        self.free = np.flatnonzero(is_free)
        G = np.zeros((self.design.n_coef, len(self.free)))
        G[self.free, np.arange(len(self.free))] = 1.0
        self.G = self._product(G) if len(self.free) else np.zeros((n, 0))
        self.step = max(1, CHUNK // self.design.n_coef)
        eye = np.eye(n)
        parts = [eye[:, k : k + self.step] for k in range(0, n, self.step)]
        K = np.concatenate([self._product(self.over_lam * self._adjoint(E)) for E in parts], axis=1)
        root = np.sqrt(c)
        factor = cho_factor(eye + root[:, None] * K * root, lower=True)
        inverse = cho_solve(factor, eye)
        self.T = root[:, None] * inverse * root
        self.S = np.linalg.pinv(self.G.T @ self.T @ self.G, hermitian=True)
        F, R = self.G - K @ (self.T @ self.G), inverse @ (root[:, None] * self.G)
        M = inverse - R @ self.S @ R.T  # I - D½ X H⁻¹ Xᵀ D½
        P = K - K @ (self.T @ K) + F @ self.S @ F.T
        # H⁻¹ Xᵀ = Λ⁻¹ Xᵀ N on the penalised coefficients
        N = eye - self.T @ (K + self.G @ self.S @ F.T)
        # differences of large numbers where rows nearly fit; there the same by way of M, which
        # divides by the root instead
        is_large = c * np.diag(K) > 1
        over = 1 / np.where(is_large, root, 1.0)
        self.P = np.where(is_large[:, None] & is_large, (eye - M) * over[:, None] * over, P)
        self.N = np.where(is_large, root[:, None] * M * over, N)
        self.log_det = float(np.log(self.lam[self.lam > 0]).sum())
        self.log_det += 2.0 * float(np.log(np.diag(factor[0])).sum())
        self.log_det -= float(np.linalg.slogdet(self.S)[1])
        h = np.diag(self.P)
        self.h = column(rows, h)
        self.take(rows, column(rows, c * h), column(rows, np.diag(M)))

    def _product(self, V):
        """X V of host arrays."""
        return self.rows.to_host(self.design.matvec(self.design.xp.asarray(V)))

    def _adjoint(self, R):
        """Xᵀ R of host arrays."""
        return to_host(self.design.rmatvec(self.rows.from_host(np.ascontiguousarray(R))))

    def _squares(self, M, weight):
        """Σ_k weight_k (Λ⁻¹ Xᵀ M)_jk² for every coefficient."""
        total = np.zeros((self.design.n_coef, 1))
        for k in range(0, M.shape[1], self.step):
            block = self.over_lam * self._adjoint(M[:, k : k + self.step])
            total[:, 0] += (block * block) @ weight[k : k + self.step]
        return total

    @property
    def inverse_diagonal(self):
        """Of H⁻¹ on the penalised coefficients, else 0."""
        values, vectors = np.linalg.eigh(self.T - self.T @ self.G @ self.S @ self.G.T @ self.T)
        taken = vectors * np.sqrt(np.maximum(values, 0.0))
        return (self.over_lam - self._squares(taken, np.ones(len(values))))[:, 0]

    def solve(self, b):
        b = to_host(b)
        z = self._product(self.over_lam * b)
        free = self.S @ (b[self.free] - self.G.T @ (self.T @ z))
        x = self.over_lam * (b - self._adjoint(self.T @ (z + self.G @ free)))
        x[self.free] = free
        return self.design.xp.asarray(x)

    def pull(self, in_a, in_v):
        in_a = self.rows.to_host(in_a)[:, 0]
        b = self.c * in_a
        in_c = np.diag(self.P) * in_a - (self.P * self.P) @ b
        return column(self.rows, in_c), -self.design.xp.asarray(self._squares(self.N, b))


@dataclass(frozen=True, eq=False)
class ProbeSetting:
    """How many probes, the relative residuals of their solves, the preconditioner, and solutions at
    a θ nearby to start from."""

    n_probes: int
    tol: float
    precond: Any
    start: Any = None


class Probes:
    """By random signs z: ``a_i ≈ mean_z r_i z_i x_i' y``, ``H y = Xᵀ (r ∘ z)``, r the roots of the
    curvatures: with them the estimates of 1 - a scatter little even where it is near 0, since ``I -
    D½ X H⁻¹ Xᵀ D½`` is positive definite. `cache` keeps the signs."""

    def __init__(self, rows, curvature, lam, setting, cache):
        self.rows, self.design, self.setting = rows, rows.design, setting
        self.hess = Hessian(rows.design, curvature, lam, n_folds=rows.n_folds)
        self.n_cg, self.is_solved, self.reached = 0, True, 0.0
        m = setting.n_probes
        self.root = rows.map(lambda block, c: block.xp.sqrt(c), curvature.values)
        if "signs" not in cache:
            cache["signs"] = rows.map(partial(signs_of_rows, m), self.root)
        self.signs = cache["signs"]
        b = rows.design.rmatvec(rows.map(lambda _, r, z: r * z, self.root, self.signs))
        self.Y, self.left, self.share = self._solve(b, 0)
        self.XY = rows.design.matvec(self.Y)
        self.each = rows.map(lambda _, r, z, u: r * z * u, self.root, self.signs, self.XY)
        self.a = rows.map(lambda block, t: block.xp.mean(t, axis=1, keepdims=True), self.each)
        self.e = rows.map(lambda _, a: 1.0 - a, self.a)
        self.v = rows.map(squared_errors_of_rows, self.each, self.a)

    def _solve(self, b, first):
        """Solutions, residuals and the relative error in the energy norm, largest over columns;
        those that it starts from are `first` and following."""
        xp, m = self.design.xp, b.shape[1]
        size = np.maximum(self.setting.precond.norms(Units(), b), 1e-300)
        tol = self.setting.tol * size
        start = self.setting.start
        start = None if start is None else xp.asarray(start[:, first : first + m], copy=True)
        solved = cg(self.hess, b, start, tol=tol, precond=self.setting.precond)
        self.n_cg += int(solved.n_iter.max())
        is_near = solved.residual_norm <= 0.5 * size
        self.is_solved &= bool(((solved.status == CONVERGED) | is_near).all())
        energy = np.where(solved.energy < 0, (UNMOVED * tol) ** 2, solved.energy)
        whole = np.maximum(Units().dots(solved.x, b), 1e-300)
        self.reached = max(self.reached, float(np.max(solved.residual_norm / size)))
        share = float(np.sqrt(np.max(np.minimum(energy / whole, 1.0))))
        return solved.x, solved.residual, share

    def solve(self, b):
        self.t, *_ = self._solve(b, 2 * self.setting.n_probes)
        return self.t

    def halves(self):
        """(factor, `View`) of both halves of the probes. A formula of all of them, plus factors
        times what those of the halves are above it, has no part that falls as one over the number
        of probes (Schucany, Gray & Owen, 1971, "On bias reduction in estimation", JASA 66). Of
        fewer than 4 probes halves have no variance."""
        every = range(self.setting.n_probes)
        if len(every) < 4:
            return []
        both = every[::2], every[1::2]
        whole, half = 1 / len(every), sum(0.5 / len(one) for one in both)
        return [(-0.5 * whole / (half - whole), self._view(one)) for one in both]

    def _view(self, probes):
        rows, index = self.rows, np.array(probes)
        each = rows.map(
            lambda block, t: block.xp.take(t, block.xp.asarray(index), axis=1), self.each
        )
        a = rows.map(lambda block, t: block.xp.mean(t, axis=1, keepdims=True), each)
        return View(a, rows.map(lambda _, a: 1.0 - a, a), rows.map(squared_errors_of_rows, each, a))

    def pull(self, in_a, in_v):
        """By one more solve with as many columns."""
        rows, m = self.rows, self.setting.n_probes
        in_v = self.zeros if in_v is None else in_v

        def weighted(_, each, a, in_a, in_v):
            return in_a / m + in_v * (each - a) * (2.0 / ((m - 1) * m))

        weight = rows.map(weighted, self.each, self.a, in_a, in_v)
        self.spread = self._spread(weight)
        weight = rows.map(lambda _, z, w: z * w, self.signs, weight)
        g = rows.design.rmatvec(rows.map(lambda _, r, w: r * w, self.root, weight))
        self.Q, _, self.share_q = self._solve(g, m)
        XQ = rows.design.matvec(self.Q)
        in_c = rows.map(through_root_of_rows, self.root, weight, self.signs, self.XY, XQ)
        self.by_coef = self.design.xp.sum(self.Q * self.Y, axis=1, keepdims=True)
        # f is linear in y to first order: what the residuals of y still change
        products = Units().dots(self.Q, self.left)
        self.value_left = float(products.sum())
        # of second order; on 20 newsgroups 0.02 to 0.2 of this
        self.value_error = 0.2 * float(np.abs(products).sum())
        return in_c, -self.by_coef

    def _spread(self, weight):
        """The standard error of f from the scatter of what each probe does to it."""
        m = self.setting.n_probes

        def along(block, w, each, a):
            return block.xp.sum(w * (each - a), axis=0)

        parts = self.rows.reduce(along, weight, self.each, self.a)
        return float(np.std(parts, ddof=1) * np.sqrt(m))

    @property
    def zeros(self):
        return self.rows.map(lambda _, a: 0.0 * a, self.a)

    def grad_error(self, vjp):
        """The errors of both solves are unrelated, of column and column too: on 20 newsgroups 0.02
        to 0.06 of their product's norm."""
        return 0.1 * (self.share + self.share_q) * float(np.linalg.norm(vjp(self.by_coef)))

    def solutions(self):
        return self.design.xp.concat([self.Y, self.Q, self.t], axis=1)
