"""Leave-one-out of least squares in closed form: with B the inverse of ``A = K + λ S⁻¹`` (of A
bordered by the intercept), d its diagonal and α = B y, the error of a row that is left out is ``e =
α / d``, and
    ∂α = -B ∂A α,  ∂d = -diag(B ∂A B),  ∂f/∂θ = -(B u) · ∂A α + tr(∂A B V B)
with ``u = s e / d`` and ``V = diag(s e² / d)``. (Folds of one row in `folds` are the same.)"""

import numpy as np
from scipy.linalg import blas

from fasthoag.kernels.derivatives import Derivatives
from fasthoag.kernels.folds import fill_upper, inverse_of

# rows up to which the outer Hessian is exact, at 8 n³ flops; beyond it is that of Gauss and Newton,
# at 2 n³
FEW_ROWS = 2500


def derivatives_of_rows(pairs, y, weight, lam, has_intercept, has_tangents):
    """(`Derivatives`, values (n,) of the rows, α of all rows with b, relative residual), y is
    (n, t). The Hessian is for one width at most."""
    n, t = y.shape
    B = inverse_of(pairs, lam, weight, has_intercept).whole()
    d, alpha = B.diagonal()[:, None], B @ y
    s = np.ones((n, 1)) if weight is None else weight[:, None]
    ridge = np.full((n, 1), lam) if weight is None else (lam / weight)[:, None]
    e = alpha / d
    values = 0.5 * np.sum(s * e**2, axis=1)
    K_alpha = pairs.product(alpha)
    residual = K_alpha + ridge * alpha - y
    b = -(s[:, 0] @ residual) / s.sum() if has_intercept else np.zeros(t)
    residual = residual + b
    W, u = np.concatenate([alpha, b[None]]), B @ (s * e / d)
    error = abs(float(np.sum(u * residual)))
    relative = float(np.linalg.norm(residual) / (np.linalg.norm(ridge * alpha) + 1e-300))
    if not has_tangents or pairs.n_directions > 1:
        root = np.sqrt(np.sum(s * e**2, axis=1, keepdims=True) / d)
        traces = fill_upper(blas.dsyrk(1.0, np.multiply(B, root).T, lower=0, trans=0).T)
        grad = pairs.sums(-u, alpha, traces, has_hess=False).grad
        of_lam = -np.sum(u * ridge * alpha) + np.sum(ridge[:, 0] * traces.diagonal())
        grad = np.append(grad, of_lam)
        scale = np.linalg.norm(grad) + abs(float(np.sum(u * ridge * alpha)))
        one = Derivatives(values.sum(), error, grad, scale * relative, None, [])
        return one, values, W, relative
    grad, hess = second_order(pairs, B, alpha, d, s, e, ridge)
    scale = np.linalg.norm(grad) + abs(float(np.sum(u * ridge * alpha)))
    one = Derivatives(values.sum(), error, grad, scale * relative, hess, [])
    return one, values, W, relative


def second_order(pairs, B, alpha, d, s, e, ridge):
    """∇f and ∇²f."""
    n = len(B)

    def derivative_matrix(order):
        return fill_upper(pairs.matrix(np.empty((n, n)), order))

    has_width, is_exact = pairs.n_directions == 1, n <= FEW_ROWS
    N = [derivative_matrix(1) @ B] if has_width else []
    along = [*(pairs.derivatives(alpha) if has_width else ()), ridge * alpha]
    N.append(ridge * B)
    d_alpha = [-(B @ one) for one in along]
    d_d = [-np.einsum("ij,ji->i", B, one)[:, None] for one in N]
    moved = [da / d - e * dd / d for da, dd in zip(d_alpha, d_d, strict=True)]
    grad = np.array([np.sum(s * e * de) for de in moved])
    hess = np.array([[np.sum(s * a * c) for a in moved] for c in moved])
    if not is_exact:
        return grad, hess
    M = [B @ one for one in N]
    for k in range(len(N)):
        for j in range(k + 1):
            is_width, is_lam = has_width and k == 0, k == j == len(N) - 1
            # ∂_j A B ∂_k A α = -∂_j A ∂_k α
            twice = sum(
                -(B @ along_of(pairs, ridge, a, d_alpha[c], len(N))) for a, c in ((j, k), (k, j))
            )
            twice_d = 2 * np.einsum("ij,ji->i", M[j], N[k])
            if is_width:
                second = derivative_matrix(2)
                twice -= B @ (second @ alpha)
                twice_d -= np.einsum("ij,ji->i", B, second @ B)
            if is_lam:
                twice -= B @ (ridge * alpha)
                twice_d -= np.einsum("ij,ji->i", B, ridge * B)
            twice_d = twice_d[:, None]
            mixed = (d_alpha[k] * d_d[j] + d_alpha[j] * d_d[k]) / d**2
            dd_e = twice / d - mixed - alpha * twice_d / d**2 + 2 * alpha * d_d[j] * d_d[k] / d**3
            hess[k, j] += np.sum(s * e * dd_e)
            hess[j, k] = hess[k, j]
    return grad, hess


def along_of(pairs, ridge, k, block, n_theta):
    """∂_k A times a block."""
    return ridge * block if k == n_theta - 1 else pairs.derivatives(block)[0]
