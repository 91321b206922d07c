"""A solver of benchopt's benchmark_bilevel: copy this file into its folder ``solvers``.

Its ijcnn1 problem is a strength for every feature, its mnist problem a weight for every row. The
benchmark hands its solvers jitted functions; the rows are in their closures."""

import inspect
from functools import partial
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from benchopt import BaseSolver
from benchopt.stopping_criterion import SufficientProgressCriterion

import fasthoag

PATIENCE = 12_800  # as the benchmark's other solvers: it is stopped by none of its numbers


def rows_of(function):
    """X and y in the closure of one of the benchmark's functions, and the data set itself where it
    is there."""
    found = inspect.getclosurevars(inspect.unwrap(function)).nonlocals
    X, y = (
        np.asarray(next(value for name, value in found.items() if name.startswith(start)))
        for start in ("X_", "y_")
    )
    y = y.argmax(axis=1) if y.ndim == 2 else y
    return X.astype(np.float64), y.astype(np.float64), found.get("self")


class Solver(BaseSolver):
    """fasthoag, with its defaults."""

    name = "fasthoag"
    requirements: ClassVar = ["pip::fasthoag"]
    stopping_criterion = SufficientProgressCriterion(patience=PATIENCE, strategy="callback")
    # of mnist's ridge: "found" is the best while all rows weigh alike, in place of theirs
    parameters: ClassVar = {"strength": ["given"]}

    @staticmethod
    def get_next(stop_val):
        return stop_val + 1

    def set_objective(
        self, f_inner, f_outer, n_inner_samples, n_outer_samples, inner_var0, outer_var0
    ):
        X, y, data = rows_of(f_inner)
        X_val, y_val, _ = rows_of(f_outer)
        self.inner_var, self.outer_var = inner_var0, outer_var0
        self.criterion = fasthoag.HeldOut(X_val, y_val)
        if data.name == "ijcnn1":
            # theirs is a mean over the rows with exp(x) / 2 before w^2, ours a sum: θ = x + log n
            if data.reg_parametrization != "exp":
                raise ValueError("fasthoag tunes the logarithms of strengths: use 'exp'")
            loss, self.shift = "logistic", np.log(len(y))
            options = {"penalty": fasthoag.FeatureRidge()}
        else:
            # reg w^2 with a mean is λ / 2 w^2 with a sum for λ = 2 n reg; their weights are
            # sigmoids, as ours
            loss, self.shift, start = "multinomial", 0.0, np.log([2 * len(y) * data.reg])
            ridge = fasthoag.Fixed(fasthoag.Ridge(), start)
            options = {"penalty": ridge, "tuned": fasthoag.SampleWeights()}
        self.n_weights = 0 if data.name == "ijcnn1" else len(y)
        self.make = partial(fasthoag.Problem, X, y, loss=loss, fit_intercept=False)
        self.options = options

    def run(self, callback):
        def told(record):
            """Hands what is there to the benchmark, which stops its clock meanwhile."""
            if record["phase"] not in ("all", "trial") or not record["is_accepted"]:
                return False
            self.keep(record["theta"], record["w"]())
            return not callback()

        if not callback():
            return
        options = self.options
        if self.n_weights and self.strength == "found":
            alike = fasthoag.hoag(self.make(), self.criterion)
            ridge = fasthoag.Fixed(fasthoag.Ridge(), alike.theta)
            options = options | {"penalty": ridge}
        problem = self.make(**options)
        result = fasthoag.hoag(problem, self.criterion, callback=told)
        self.keep(result.theta, result.w)
        callback()

    def keep(self, theta, w):
        """θ and w of fasthoag as the benchmark's variables."""
        theta = np.asarray(theta)[-self.n_weights :] if self.n_weights else np.asarray(theta)
        self.outer_var = jnp.asarray(theta - self.shift)
        self.inner_var = jnp.asarray(np.asarray(w)[:, 0].ravel())

    def get_result(self):
        return {"inner_var": self.inner_var, "outer_var": self.outer_var}
