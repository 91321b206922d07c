"""What a run writes down while it goes: trace, callback, passes, and the losses and scores on rows
that are watched."""

import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fasthoag.arithmetic import arithmetic_of_user
from fasthoag.kinds import named

PATIENCE = 5  # steps without a lower loss on the rows of stop_on
SOON = 1e-9  # seconds: after its first evaluation a search ends
OF_CRITERION = ("all", "trial")  # phases whose evaluations are f itself
OF_SOME = ("one fold", "sample")  # of some of the rows that judge


class Watched(NamedTuple):
    """What is watched on the way, who is told, how many seconds it may take, and since when."""

    stop_on: Any
    unseen: Any
    scoring: Any
    show: Any
    callback: Any
    max_seconds: float | None
    began: float


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a search: a KeyboardInterrupt with what was found so far.

    Attributes
    ----------
    result : HoagResult or None
        The best point so far, with status "interrupted" (of an estimator with several models, of
        the one that was being tuned); None before the first.

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> def impatient(record):
    ...     raise KeyboardInterrupt
    >>> problem = fasthoag.Problem(np.eye(4), [1, -1, 1, -1])
    >>> try:
    ...     result = fasthoag.hoag(problem, fasthoag.KFold(2), callback=impatient)
    ... except fasthoag.Interrupted as interrupted:
    ...     result = interrupted.result
    >>> result.status
    'interrupted'
    """

    def __init__(self, result: Any = None) -> None:
        super().__init__(result)
        self.result = result

    def __str__(self) -> str:
        if self.result is None:
            return "nothing was found so far"
        return "the best point so far is in the attribute result of this exception"


class Run:
    """What a run writes down: the trace, the passes, the losses on rows that are watched, and
    whether those of `stop_on` have seen enough."""

    def __init__(self, bound, problem, watched):
        self.for_user = None  # θ as the user has it
        self.coefficients = None  # of an evaluation, as the user has them
        self.grad_tol = None  # of an evaluation: what its hypergradient has to come down to
        self.judged = bound  # the criterion as it is reported
        self.samples = []  # criteria of some rows, whose passes count too
        self.holds_back = False  # whether the rows of stop_on were the criterion's
        self.bound, self.n_hyper, self.trace, self._watch = bound, problem.n_hyper, [], watched
        self.of_criterion = (*OF_CRITERION, "look")
        self.is_out_of_time = False
        self._watched = {}
        for argument, name, rule in (
            ("stop_on", "stop_value", watched.stop_on),
            ("unseen", "unseen_value", watched.unseen),
        ):
            if rule is not None:
                with named(argument):
                    self._watched[name] = rule.bind(problem)
        self._apart = {
            id(w.rows.design): w
            for w in self._watched.values()
            if w.rows.design not in (bound.rows.design, bound.inner.design)
        }.values()
        self._scores, self._best, self._n_worse, self._passes_before = None, None, 0, 0.0
        self._lowest = self.on_some = None
        if watched.scoring is not None:
            from fasthoag.scoring import score_function  # scikit-learn takes a second to import

            self._scores = score_function(bound, problem, watched.scoring)
        self._passes_before = self.n_passes()

    def expect_errors(self, W):
        """Judges the rows that were held back as if some were wrong, as `W` finds too few."""
        if self.holds_back:
            self._watched["stop_value"] = self._watched["stop_value"].with_errors(W)

    def n_passes(self):
        others = sum(w.other_passes for w in self._apart) + sum(self._of_samples())
        return self.bound.n_passes + others - self._passes_before

    def _of_samples(self):
        """Passes over samples of the rows, by their stored entries."""
        for one in self.samples:
            whole = max(1, self.bound.inner.design.n_stored)
            yield one.n_passes * one.inner.design.n_stored / whole

    def forget_samples(self):
        """Lets their rows go, not their passes."""
        self._passes_before -= sum(self._of_samples())
        self.samples = []

    def seconds(self):
        return time.perf_counter() - self._watch.began

    def look(self, W):
        """Loss on the rows that are watched, the mean over folds, and scores, at these inner
        solutions."""
        found = {name: float(w.values(W, None).mean()) for name, w in self._watched.items()}
        return found | ({} if self._scores is None else {"scores": self._scores(W)})

    def record(self, phase, evaluation, accuracy, is_accepted):
        """Appends to the trace; returns whether to stop."""
        theta = self.for_user(evaluation.theta)
        theta = theta.tolist() if self.n_hyper <= 1000 else theta
        self.trace.append(
            entry(
                phase,
                theta,
                evaluation,
                accuracy,
                grad_tol=self.grad_tol(evaluation),
                n_passes=self.n_passes(),
                seconds=self.seconds(),
                is_accepted=bool(is_accepted),
            )
        )
        self._keep(phase, evaluation)
        if is_accepted and phase in OF_CRITERION:
            self.trace[-1] |= self.look(evaluation.predict(0 * evaluation.theta))
            value = self.trace[-1].get("stop_value")
            if value is not None and evaluation.is_solved:
                self._n_worse += 1
                if self._best is None or value < self._best[0]:
                    self._best, self._n_worse = (value, evaluation), 0
        return self._asks_to_stop(evaluation) or self._n_worse >= PATIENCE or self.is_late()

    def _asks_to_stop(self, evaluation):
        """Whether the callback stops the run, whose passes do not count those of the callback."""
        callback, before, told = self._watch.callback, self.n_passes(), self.trace[-1]
        if self.coefficients is not None:  # not in the trace, which would keep them all
            told = told | {"w": partial(self.coefficients, evaluation)}
        with arithmetic_of_user():
            self._watch.show(self.trace[-1])
            is_stopped = callback is not None and bool(callback(told))
        self._passes_before += self.n_passes() - before
        return is_stopped

    def is_late(self):
        """Whether the seconds that the run may take are over."""
        limit = self._watch.max_seconds
        self.is_out_of_time = limit is not None and self.seconds() >= limit
        return self.is_out_of_time

    # ---- what there is when a run is ended from outside ----

    def _keep(self, phase, evaluation):
        """Takes note of the lowest evaluation of f itself, as far as its error tells, and before
        there is one of the last on some of the rows."""
        is_first = phase in OF_SOME and self._lowest is None
        if is_first and evaluation.is_solved and np.isfinite(evaluation.value):
            self.on_some = evaluation
        is_one = phase in self.of_criterion and evaluation.is_solved
        is_one = is_one and np.isfinite(evaluation.value)
        if is_one and (self._lowest is None or at_most(evaluation) < at_most(self._lowest)):
            grad = evaluation.grad
            if grad.shape != evaluation.theta.shape:  # of many hyperparameters that moved together
                grad = np.full(len(evaluation.theta), np.nan)
            # It is no start of anything: adjoint and tangents of many folds would be large.
            self._lowest = replace(evaluation, grad=grad, hess=None, Q=None, T=None)
            self.on_some = None

    def best_so_far(self, last=None):
        """The evaluation that the rows of `stop_on` like best, without such rows the lowest, or the
        `last` one where it is as good; of the first fold where no other was looked at."""
        if self._best is not None:
            return self._best[1]
        if self._lowest is None:
            return self.on_some if last is None else last
        is_lower = last is None or is_of_first(last, self) or at_most(self._lowest) < last.value
        return self._lowest if is_lower else last

    def judge_all_rows(self, whole, problem, scoring):
        """From here on the criterion is that of all rows, also of those that were held back."""
        self.judged = whole
        if scoring is not None:
            from fasthoag.scoring import score_function

            self._scores = score_function(whole, problem, scoring)

    def best_for_stop_on(self, best, status):
        """The evaluation that the rows of `stop_on` like best, if it is not the last."""
        if self._best is None or self._best[1] is best:
            return best, status
        is_worse = self._n_worse >= PATIENCE or self._best[0] < self.trace[-1].get(
            "stop_value", np.inf
        )
        return (self._best[1], "stopped_early") if is_worse else (best, status)


def entry(phase, theta, evaluation, accuracy, **of_run):
    """What a trace has of an evaluation, and of the run then."""
    return {
        "phase": phase,
        "theta": theta,
        "value": evaluation.value,
        "value_error": evaluation.value_error,
        "grad_norm": float(np.linalg.norm(evaluation.grad)),
        "grad_error": evaluation.grad_error,
        "inner_tol": accuracy.inner,
        "linear_tol": accuracy.linear,
        "n_inner": evaluation.n_inner,
        "n_cg": evaluation.n_cg,
        **of_run,
    }


def at_most(evaluation):
    """What f is at most there, as far as its error tells."""
    return evaluation.value + evaluation.value_error


def is_of_first(evaluation, run):
    """Whether it is of the first of several folds alone, which judges fewer rows, or of a sample of
    the rows."""
    return evaluation is run.on_some or len(evaluation.fold_values) < len(run.bound.fold_weights)


@contextmanager
def interruptible(best_so_far=lambda: None, finish=None):
    """Within it KeyboardInterrupt becomes `Interrupted`, with the best evaluation so far as
    ``finish(evaluation, status)`` returns it, or None."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt as interrupt:
        best = best_so_far()
        found = None if best is None else finish(best, "interrupted")
        raise Interrupted(found) from interrupt
