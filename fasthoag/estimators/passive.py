"""Parameters of scikit-learn's estimators that choose no model here: which of their values are
taken, what these mean, and what to write instead of the others. One table serves the check and the
docstrings."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

PASSIVE = "passive"  # where a field keeps its `Passive`


@dataclass(frozen=True)
class Passive:
    """What is known of such a parameter.

    `values` are those that are taken, `default` among them: a tuple of them, or a function that
    says of each whether it is. `kind` is how the docstring names them, `means` its sentence, and
    `instead` what follows the name and the value in a refusal."""

    default: Any
    values: tuple[Any, ...] | Callable[[Any], bool]
    kind: str
    means: str
    instead: str

    def takes(self, value: Any) -> bool:
        if callable(self.values):
            return self.values(value)
        is_plain = value is None or isinstance(value, (str, bool, int, float, np.generic))
        return is_plain and value in self.values


def passive(
    *,
    default: Any,
    values: tuple[Any, ...] | Callable[[Any], bool],
    means: str,
    instead: str,
    kind: str = "",
) -> Any:
    """A field of an estimator: a parameter of scikit-learn's that chooses no model here."""
    rule = Passive(default, values, kind or _named(values), means, instead)
    return field(default=default, metadata={PASSIVE: rule})


def _named(values):
    return f"{{{', '.join(_quoted(one) for one in values)}}}"


def _quoted(value):
    return f'"{value}"' if isinstance(value, str) else repr(value)


def check_passive(estimator: Any) -> None:
    """Raises ValueError for the first value that cannot be honoured, with what to write instead."""
    for name, rule in passive_of(estimator).items():
        value = getattr(estimator, name)
        if not rule.takes(value):
            raise ValueError(f"{name}={value!r} {rule.instead}")


def described(cls: type) -> str:
    """The entries of these parameters for the docstring of the class, in the order of their
    names."""
    return "".join(
        f"{name} : {rule.kind}, default {_quoted(rule.default)}\n    {rule.means}\n"
        for name, rule in sorted(passive_of(cls).items())
    )


def passive_of(estimator: Any) -> dict[str, Passive]:
    """These parameters of an estimator or of its class, by name."""
    return {one.name: one.metadata[PASSIVE] for one in fields(estimator) if PASSIVE in one.metadata}
