"""What a run writes down while it goes: trace, callback, passes, and the losses and scores on rows
that are watched."""

import time

import numpy as np

from fasthoag.arithmetic import arithmetic_of_user
from fasthoag.kinds import named

PATIENCE = 5  # steps without a lower loss on the rows of stop_on


class Run:
    """What a run writes down: the trace, the passes, the losses on rows that are watched, and
    whether those of `stop_on` have seen enough."""

    def __init__(self, bound, problem, stop_on, unseen, scoring, callback, began):
        self.for_user = None  # θ as the user has it
        self.judged = bound  # the criterion as it is reported
        self.holds_back = False  # whether the rows of stop_on were the criterion's
        self.bound, self.callback, self.n_hyper, self.trace, self._began = (
            bound,
            callback,
            problem.n_hyper,
            [],
            began,
        )
        self._watched = {}
        for argument, name, rule in (
            ("stop_on", "stop_value", stop_on),
            ("unseen", "unseen_value", unseen),
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
        if scoring is not None:
            from fasthoag.scoring import score_function  # scikit-learn takes a second to import

            self._scores = score_function(bound, problem, scoring)
        self._passes_before = self.n_passes()

    def expect_errors(self, W):
        """Judges the rows that were held back as if some were wrong, as `W` finds too few."""
        if self.holds_back:
            self._watched["stop_value"] = self._watched["stop_value"].with_errors(W)

    def n_passes(self):
        return self.bound.n_passes + sum(w.other_passes for w in self._apart) - self._passes_before

    def seconds(self):
        return time.perf_counter() - self._began

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
            {
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
                "n_passes": self.n_passes(),
                "seconds": self.seconds(),
                "is_accepted": bool(is_accepted),
            }
        )
        if is_accepted and phase in ("all", "trial"):
            self.trace[-1] |= self.look(evaluation.predict(0 * evaluation.theta))
            value = self.trace[-1].get("stop_value")
            if value is not None and evaluation.is_solved:
                self._n_worse += 1
                if self._best is None or value < self._best[0]:
                    self._best, self._n_worse = (value, evaluation), 0
        return self._asks_to_stop() or self._n_worse >= PATIENCE

    def _asks_to_stop(self):
        """Whether the callback stops the run, whose passes do not count those of the callback."""
        before = self.n_passes()
        with arithmetic_of_user():
            is_stopped = self.callback is not None and bool(self.callback(self.trace[-1]))
        self._passes_before += self.n_passes() - before
        return is_stopped

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
