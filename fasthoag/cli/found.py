"""What a search of ``fasthoag tune`` comes to, beside its model."""

from typing import Any, NamedTuple

from fasthoag.cli.problem import n_judging
from fasthoag.cli.search import judge_rows

SUMS_OF_LOSSES = "cv", "loo", "gcv"  # These criteria have a loss per row.


class Found(NamedTuple):
    """What is shown of a search. The functions of `fasthoag.report` say what the fields are."""

    result: Any
    n_held_out: Any
    settings: dict
    unseen: Any
    tuned: Any  # of a kernel model

    def shown(self):
        """What the summary is of."""
        return self.result, self.n_held_out, self.unseen, self.tuned


def found_of(asked, data, problem, result, fitted, settings):
    """The `Found` of one target."""
    return Found(
        result,
        n_judging(data) if asked.criterion in SUMS_OF_LOSSES else None,
        settings,
        judged(problem, fitted, data),
        None if asked.kernel is None else problem.read(result.theta),
    )


def judged(problem, fitted, data):
    """What the model is worth on the rows of ``--test``, or None."""
    if data.test is None:
        return None
    X, y = data.test
    of_rows = data.carried.weights["test"], data.offsets["test"]
    return judge_rows(problem, fitted, X, y, *of_rows)
