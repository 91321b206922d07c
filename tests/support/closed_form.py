"""What tuning must give, in dense NumPy that shares no code with the package but the formulas of
the losses: the ridge problem in closed form with its first two derivatives in θ, and any loss by
Newton's method to rounding."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import minimize_scalar

from fasthoag.losses import derivative


@dataclass(frozen=True, eq=False)
class Split:
    """Fold f trains on ``X, y`` with row weights ``train[:, f]`` and is judged on ``X_test,
    y_test`` with ``test[:, f]``; the last column of both is ones when there is an intercept."""

    X: np.ndarray
    y: np.ndarray
    train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    test: np.ndarray
    fit_intercept: bool

    @property
    def is_penalised(self):
        return np.r_[
            np.ones(self.X.shape[1] - self.fit_intercept), np.zeros(int(self.fit_intercept))
        ]


def with_ones(X, fit_intercept):
    X = np.asarray(X.toarray() if hasattr(X, "toarray") else X, np.float64)
    return np.hstack([X, np.ones((len(X), 1))]) if fit_intercept else X


def held_out_split(X, y, X_val, y_val, fit_intercept, weight=None, val_weight=None):
    one = lambda s, n: np.ones((n, 1)) if s is None else np.asarray(s, float)[:, None]  # noqa: E731
    return Split(
        with_ones(X, fit_intercept),
        y,
        one(weight, len(y)),
        with_ones(X_val, fit_intercept),
        y_val,
        one(val_weight, len(y_val)),
        fit_intercept,
    )


def k_fold_split(X, y, splits, fit_intercept, weight=None):
    A = with_ones(X, fit_intercept)
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, float)
    train, test = np.zeros((2, len(y), len(splits)))
    for f, (train_rows, test_rows) in enumerate(splits):
        train[train_rows, f], test[test_rows, f] = weight[train_rows], weight[test_rows]
    return Split(A, y, train, A, y, test, fit_intercept)


@dataclass(frozen=True)
class Ridge:
    W: np.ndarray  # inner solutions (n_coef, n_folds)
    inner_hess: np.ndarray  # (n_folds, n_coef, n_coef)
    fold_values: np.ndarray
    value: float
    grad: float  # df/dθ
    hess: float  # d²f/dθ²


def ridge(split, theta):
    """Squared loss: H w = Xᵀ S y with H = Xᵀ S X + λE, differentiated once and twice in θ = log λ:
    H w' = -λE w and H w'' = -λE (w + 2 w'), so f' = ∇gᵀw' and f'' = w'ᵀ∇²g w' + ∇gᵀw''."""
    lam = np.exp(theta) * np.diag(split.is_penalised)
    W, hessians, values, grad, hess = [], [], [], 0.0, 0.0
    for s, v in zip(split.train.T, split.test.T, strict=False):
        H = split.X.T @ (s[:, None] * split.X) + lam
        w = np.linalg.solve(H, split.X.T @ (s * split.y))
        w1 = np.linalg.solve(H, -lam @ w)
        w2 = np.linalg.solve(H, -lam @ (w + 2 * w1))
        r = split.X_test @ w - split.y_test
        g = split.X_test.T @ (v * r)
        W.append(w)
        hessians.append(H)
        values.append(0.5 * v @ r**2)
        grad += g @ w1
        hess += v @ (split.X_test @ w1) ** 2 + g @ w2
    return Ridge(
        np.array(W).T,
        np.array(hessians),
        np.array(values),
        float(np.sum(values)),
        float(grad),
        float(hess),
    )


def minimiser(loss, X, y, s, strengths, w=None):
    """The inner solution by dense Newton steps, halved until the objective falls, to rounding."""
    w = np.zeros(X.shape[1]) if w is None else w

    def objective(w):
        return s @ derivative(loss, 0, y, X @ w) + 0.5 * strengths @ w**2

    value, n_flat = objective(w), 0
    for _ in range(200):
        z = X @ w
        gradient = X.T @ (s * derivative(loss, 1, y, z)) + strengths * w
        H = X.T @ ((s * derivative(loss, 2, y, z))[:, None] * X) + np.diag(strengths)
        step = np.linalg.solve(H, -gradient)
        t = 1.0
        while (
            objective(w + t * step) > value + 1e-4 * t * gradient @ step + 1e-15 * abs(value)
            and t > 1e-10
        ):
            t *= 0.5
        w, old = w + t * step, value
        value = objective(w)
        n_flat = n_flat + 1 if old - value <= 1e-15 * abs(value) else 0
        # one step beyond the first that changes nothing
        if n_flat == 2 or np.linalg.norm(step) <= 1e-14 * np.linalg.norm(w):
            break
    return w


def exact(split, loss, theta, W=None):
    """Criterion values (n_folds,) and inner solutions (n_coef, n_folds) at θ, from `W` if given."""
    strengths = np.exp(theta) * split.is_penalised
    columns = [
        minimiser(loss, split.X, split.y, s, strengths, None if W is None else W[:, f])
        for f, s in enumerate(split.train.T)
    ]
    values = [
        v @ derivative(loss, 0, split.y_test, split.X_test @ w)
        for w, v in zip(columns, split.test.T, strict=False)
    ]
    return np.array(values), np.array(columns).T


@cache
def minimum(split, loss, low, high, n_grid=60):
    """θ and f of the global minimum over [low, high]: a grid, then a bounded scalar search around
    its best point."""
    grid, W, values = np.linspace(low, high, n_grid), None, []
    for theta in grid[::-1]:
        fold_values, W = exact(split, loss, theta, W)
        values.append(fold_values.sum())
    best = int(np.argmin(values[::-1]))
    left, right = grid[max(best - 1, 0)], grid[min(best + 1, n_grid - 1)]
    found = minimize_scalar(
        lambda theta: exact(split, loss, theta, W)[0].sum(),
        bounds=(left, right),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return float(found.x), float(found.fun)
