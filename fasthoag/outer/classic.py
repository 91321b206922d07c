"""The algorithm of the paper: gradient steps with its tolerance schedules and its adaptive step
size.

Pedregosa (2016), "Hyperparameter optimization with approximate gradient", Algorithm 1 and section
3. Faults of the 2016 code that are not repeated: the accepted step applied twice, a rejected step
that keeps the bad point, an inner tolerance from a random start, a linear solve that does not
follow the schedule, no stopping test."""

from typing import Any

import numpy as np

from fasthoag.arithmetic import arithmetic_of_user
from fasthoag.hypergradient import Accuracy, Evaluation
from fasthoag.options import is_number
from fasthoag.outer.rules import Box, Proposal, restored, saved

SCHEDULES = {
    "exponential": lambda k: 0.1 * 0.9**k,
    "quadratic": lambda k: 0.1 / (k + 1) ** 2,
    "cubic": lambda k: 0.1 / (k + 1) ** 3,
    "exact": lambda k: 1e-12,
}


class Classic:
    """Step size 1/L and tolerance ε_k, relative to what is solved for: the paper's absolute ||∇h||
    <= μ ε_k and ||H q - ∇g|| <= ε_k up to constants, which depend on the units of the data."""

    wants = "gradient"
    max_iter = 50
    _remembered = ("k", "lipschitz", "n_rejected", "accuracy")

    def __init__(self, schedule="exponential"):
        schedule = "exponential" if schedule is None else schedule
        is_name = isinstance(schedule, str) and schedule in SCHEDULES
        if not (callable(schedule) or is_name):
            raise ValueError(
                f"schedule must be one of {', '.join(map(repr, SCHEDULES))} or a function k -> "
                f"tolerance; got {schedule!r}"
            )
        self.epsilon = schedule if callable(schedule) else SCHEDULES[schedule]
        self.k, self.lipschitz, self.n_rejected = 0, None, 0
        self.accuracy = self._accuracy()

    def _accuracy(self):
        with arithmetic_of_user():
            epsilon = self.epsilon(self.k)
        if not is_number(epsilon, 0):
            raise ValueError(
                f"schedule must give positive tolerances; got {epsilon!r} for k={self.k}"
            )
        return Accuracy(float(epsilon), float(epsilon))

    def propose(self, evaluation: Evaluation, box: Box, target: float, allowed: float) -> Proposal:
        grad, theta = evaluation.grad, evaluation.theta
        if self.lipschitz is None:
            # the first step has length 1 in log units
            self.lipschitz = max(float(np.linalg.norm(grad)), 1e-300)
        d = np.clip(-grad / self.lipschitz, box.lower - theta, box.upper - theta)
        self.k += 1
        self.accuracy = self._accuracy()
        return Proposal(d, -0.5 * float(grad @ d))

    def hessian(self, evaluation: Evaluation) -> tuple[Any, float]:
        return None, np.inf

    def accept(self, current: Evaluation, trial: Evaluation, proposal: Proposal) -> bool:
        """g_k <= g_{k-1} + tolerances - L Δ²/2: then L shrinks a little."""
        slack = 2.0 * (current.value_error + trial.value_error)
        sufficient = 0.1 * proposal.predicted
        if not (np.isfinite(trial.value) and trial.value <= current.value + slack - sufficient):
            return False
        self.lipschitz *= 0.95 if self.n_rejected else 0.7
        self.n_rejected = 0
        return True

    def reject(self, current: Evaluation, trial: Evaluation, proposal: Proposal) -> None:
        """L doubles and the step is taken again, shorter, from the old point."""
        self.n_rejected += 1
        self.lipschitz *= 2.0 if self.n_rejected < 3 else 10.0

    def state(self) -> dict[str, Any]:
        return saved(self, self._remembered)

    def restore(self, state: dict[str, Any]) -> None:
        restored(self, state, self._remembered)
