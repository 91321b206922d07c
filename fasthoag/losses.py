"""The losses by name, their parameters, which targets each accepts and what its predictions stand
for. The formulas of the losses are in csrc/losses.hpp only."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fasthoag import _core
from fasthoag.arithmetic import our_arithmetic
from fasthoag.options import is_number
from fasthoag.threads import computed_once
from fasthoag.types import Array, ArrayLike, Domain


def is_label(y):
    return (y == 1) | (y == -1)


def is_not_negative(y):
    return y >= 0


def is_positive(y):
    return y > 0


LABELS: Domain = "only -1 and +1", is_label
REAL: Domain = "real numbers", np.isfinite
COUNTS: Domain = "numbers >= 0", is_not_negative
POSITIVE: Domain = "numbers > 0", is_positive


def probabilities(z):
    """Probabilities of the classes that predictions stand for: from ``(n,)`` those of -1 and +1,
    ``(n, 2)``; from ``(n, K)`` those of K classes, ``(n, K)``."""
    from scipy.special import expit, softmax  # The import takes a while, and few need it.

    return softmax(z, axis=1) if z.ndim == 2 else np.column_stack([expit(-z), expit(z)])


def log_probabilities(z):
    """Logarithms of `probabilities`, which stay finite where a probability rounds to 0."""
    from scipy.special import log_softmax

    with our_arithmetic():
        if z.ndim == 2:
            return log_softmax(z, axis=1)
        return -np.logaddexp(0, np.column_stack([z, -z]))


def likeliest(z):
    """The number of the class that a prediction is for, ``(n,)``: from ``(n,)`` 1 where z > 0 and
    else 0; from ``(n, K)`` the number of the largest."""
    return z.argmax(axis=1) if z.ndim == 2 else (z > 0).astype(np.intp)


# What predictions z stand for, by the link of the loss. The identity is also that of margins, such
# as those of a squared hinge: no probability follows from them.
INVERSE_LINKS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda z: z,
    "log": np.exp,
    "logit": probabilities,
}


@dataclass(frozen=True)
class Loss:
    """A loss with its parameters: ``find_loss("huber", delta=2.0)``. What Python needs to know of
    it; `native` is what the kernels take.

    Attributes
    ----------
    name, formula : str
    domain : (str, callable)
        Which targets it accepts, in words and as a test of an array.
    parameters : dict
        Up to two numbers, in the order of the kernel; of a mix its weight.
    limits : dict
        Open interval of each parameter.
    is_classification, is_quadratic, has_kinks : bool
        Targets are -1 and +1; the third derivative is 0 everywhere; the second derivative jumps, so
        that f is only piecewise twice differentiable.
    link : {"identity", "log", "logit"}
        Leads from what predictions stand for to the predictions; `inverse_link` leads back.
    """

    name: str
    formula: str
    domain: Domain = REAL
    parameters: dict[str, float] | None = None
    limits: dict[str, tuple[float, float]] | None = None
    is_classification: bool = False
    is_quadratic: bool = False
    has_kinks: bool = False
    compiled: Any = None
    cuda: tuple[str, ...] | None = (
        None  # of a custom loss: value, d1, d2 and d3 as CUDA expressions
    )
    n_classes: int = 1  # more: the multinomial loss
    mixed: "tuple[Loss, ...] | None" = None  # the two losses of a mix
    link: str = "identity"

    @computed_once
    def native(self) -> _core.Loss:
        if self.compiled is not None:
            return self.compiled.native
        a = [*(self.parameters or {}).values(), 0.0, 0.0]
        if self.mixed is not None:
            first, second = (loss.native for loss in self.mixed)
            # 0 times an overflow would be NaN
            return first if a[0] == 1 else second if a[0] == 0 else _core.Loss(first, second, a[0])
        return (
            _core.Loss(n_classes=self.n_classes, smoothing=a[0])
            if self.n_classes > 1
            else _core.Loss(self.name, a[0], a[1])
        )

    @property
    def has_log_link(self) -> bool:
        return self.link == "log"

    def inverse_link(self, z: Any) -> Any:
        """What predictions z stand for: the mean ``exp(z)`` of every target with the log link, the
        probabilities of the classes with the logit link, and z itself with the identity.

        Parameters
        ----------
        z : array, shape (n,), or (n, n_classes) of the multinomial loss

        Returns
        -------
        array, shape (n,), or (n, K) of probabilities: the two of -1 and +1, or one a class

        Examples
        --------
        >>> import numpy as np, fasthoag
        >>> fasthoag.find_loss("logistic").inverse_link(np.array([0.0, np.log(3)]))
        array([[0.5 , 0.5 ],
               [0.25, 0.75]])
        """
        with our_arithmetic():
            return INVERSE_LINKS[self.link](z)

    @property
    def has_third(self) -> bool:
        """Whether the third derivative is not 0 everywhere. Of built-in losses with kinks it is 0;
        others may curve between theirs."""
        if self.mixed is not None:
            return any(loss.has_third for loss in self.mixed)
        return not self.is_quadratic and (not self.has_kinks or self.compiled is not None)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "native"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Pickles of earlier versions have no link.
        self.__dict__.update({"link": link_of(state["name"])} | state)

    def check_y(self, y: Any, name: str = "y") -> None:
        """Raises ValueError when a target is outside the domain of the loss."""
        is_bad = ~self.domain[1](y)
        if is_bad.any():
            found = np.unique(y[is_bad])
            shown = ", ".join(f"{v:g}" for v in found[:3]) + (", ..." if len(found) > 3 else "")
            hint = (
                ". Map two labels with 2*y - 1, or use an estimator, which maps labels itself"
                if self.domain is LABELS
                else ". Choose a loss for such targets, or correct them"
            )
            raise ValueError(
                f"{name} must contain {self.domain[0]} for loss '{self.name}'; found {shown}{hint}"
            )
        if self.n_classes > 1 and len(y) and y.max() >= self.n_classes:
            raise ValueError(
                f"{name} must contain class numbers below n_classes = {self.n_classes}; found "
                f"{y.max():g}"
            )


NO_SMOOTHING: dict[str, float] = {"smoothing": 0.0}
SMOOTHING: dict[str, tuple[float, float]] = {"smoothing": (-1e-300, 1)}

LOSSES = {
    loss.name: loss
    for loss in (
        Loss("squared", "(z - y)^2 / 2", is_quadratic=True),
        Loss(
            "logistic",
            "log(1 + exp(-y z)) + (smoothing / 2) y z, y in {-1, +1}",
            LABELS,
            NO_SMOOTHING,
            SMOOTHING,
            is_classification=True,
            link="logit",
        ),
        Loss(
            "squared_hinge",
            "max(0, 1 - y z)^2, y in {-1, +1}",
            LABELS,
            is_classification=True,
            has_kinks=True,
        ),
        Loss(
            "smoothed_hinge",
            "width log(1 + exp((1 - y z) / width)): the hinge with a smooth corner, y in {-1, +1}",
            LABELS,
            {"width": 0.5},
            {"width": (0, np.inf)},
            is_classification=True,
        ),
        Loss(
            "huber",
            "with r = z - y: r^2 / 2 up to |r| = delta, delta |r| - delta^2 / 2 beyond",
            REAL,
            {"delta": 1.35},
            {"delta": (0, np.inf)},
            has_kinks=True,
        ),
        Loss(
            "squared_epsilon_insensitive",
            "max(0, |z - y| - epsilon)^2",
            REAL,
            {"epsilon": 0.1},
            {"epsilon": (-1e-300, np.inf)},
            has_kinks=True,
        ),
        Loss(
            "quantile",
            "with r = y - z: quantile r + h log(1 + exp(-r / h)), h = smoothing: the pinball loss "
            "with a smooth corner",
            REAL,
            {"quantile": 0.5, "smoothing": 0.1},
            {"quantile": (0, 1), "smoothing": (0, np.inf)},
        ),
        Loss(
            "poisson",
            "exp(z) - y z + y log(y) - y, y >= 0: half the deviance",
            COUNTS,
            link="log",
        ),
        Loss(
            "gamma",
            "z + y exp(-z) - log(y) - 1, y > 0: half the deviance",
            POSITIVE,
            link="log",
        ),
        Loss(
            "tweedie",
            "exp((2 - p) z) / (2 - p) - y exp((1 - p) z) / (1 - p) + y^(2 - p) / ((1 - p) (2 - "
            "p)), y >= 0, 1 < p = power < 2: half the deviance",
            COUNTS,
            {"power": 1.5},
            {"power": (1, 2)},
            link="log",
        ),
    )
}


def is_class_number(y):
    return (y >= 0) & (y == np.floor(y))


# n_classes = 0: as many as y has, which Problem fills in
MULTINOMIAL = Loss(
    "multinomial",
    "log(sum_c exp(z_c)) - (1 - smoothing) z_y - smoothing mean_c z_c, y in 0..n_classes-1, all "
    "classes at once",
    ("class numbers 0, 1, 2, ...", is_class_number),
    NO_SMOOTHING,
    SMOOTHING,
    is_classification=True,
    n_classes=0,
    link="logit",
)


def link_of(name: str) -> str:
    """The link of a loss from its name, which is all that a model file holds of it. A mix has the
    link that its parts share. The identity stands for the links of losses that are not in the list,
    and of parts that differ."""
    known = LOSSES | {MULTINOMIAL.name: MULTINOMIAL}
    links = {known[part].link if part in known else "identity" for part in name.split("+")}
    return links.pop() if len(links) == 1 else "identity"


def find_loss(loss: str | Loss, **parameters: Any) -> Loss:
    """The `Loss` of this name with these parameters; a `Loss` is returned as it is.

    ``smoothing`` s of "logistic" and "multinomial" is label smoothing: the label of a row has the
    share 1 - s of the targets, and s is spread over all K classes (two with "logistic", targets 1 -
    s/2 and s/2). It is part of training only: `HeldOut`, `KFold` and `ApproximateLOO` judge without
    it, so that models of every s compare; the first two may have a smoothed loss of their own.

    Parameters
    ----------
    loss : str or Loss
        One of ``fasthoag.losses.LOSSES``, or ``"multinomial"``.
    **parameters
        ``smoothing`` of "logistic" and "multinomial", 0 <= smoothing < 1; ``n_classes`` of
        "multinomial"; ``delta`` of "huber", ``width`` of "smoothed_hinge", ``epsilon`` of
        "squared_epsilon_insensitive", ``quantile`` and ``smoothing`` of "quantile", ``power`` of
        "tweedie"; ``weight`` of what `mix_losses` made.

    Raises
    ------
    ValueError
        For an unknown name or parameter, or one outside its interval.

    References
    ----------
    Szegedy et al. (2016), "Rethinking the Inception architecture for computer vision", CVPR,
    section 7: label smoothing.

    Examples
    --------
    >>> import fasthoag
    >>> fasthoag.find_loss("huber", delta=2.0).parameters
    {'delta': 2.0}
    >>> fasthoag.find_loss("logistic", smoothing=0.1).parameters
    {'smoothing': 0.1}
    """
    if isinstance(loss, Loss) and not parameters:
        return loss
    name = loss.name if isinstance(loss, Loss) else loss
    if isinstance(loss, Loss) and (loss.mixed is not None or loss.n_classes != 1):
        found = loss
    elif isinstance(name, str) and (name in LOSSES or name == MULTINOMIAL.name):
        found = LOSSES.get(name, MULTINOMIAL)
    else:
        known = ", ".join(map(repr, sorted(LOSSES)))
        raise ValueError(
            f"loss must be one of {known}, 'multinomial', or what custom_loss or mix_losses makes; "
            f"got {loss!r}"
        )
    if found.name == MULTINOMIAL.name and "n_classes" in parameters:
        n_classes = parameters.pop("n_classes")
        if not (n_classes is None or (isinstance(n_classes, (int, np.integer)) and n_classes >= 2)):
            raise ValueError(
                f"n_classes of loss 'multinomial' must be a whole number >= 2; got {n_classes!r}"
            )
        found = replace(found, n_classes=int(n_classes or 0))
    for key, value in parameters.items():
        if key not in (found.parameters or {}):
            known = ", ".join(found.parameters or {}) or "none"
            raise ValueError(f"loss '{name}' has no parameter {key!r}; it has {known}")
        low, high = (found.limits or {})[key]
        if not is_number(value, low, high):
            raise ValueError(
                f"{key} of loss '{name}' must be a number between {max(low, 0):g} and {high:g}; "
                f"got {value!r}"
            )
    if not parameters:
        return found
    given = {key: float(value) for key, value in parameters.items()}
    return replace(found, parameters=(found.parameters or {}) | given)


@dataclass(frozen=True)
class Both:
    """The test of targets that two losses accept."""

    first: Callable[[Any], Any]
    second: Callable[[Any], Any]

    def __call__(self, y: Any) -> Any:
        return self.first(y) & self.second(y)


def mix_losses(a: str | Loss, b: str | Loss, weight: float = 0.5) -> Loss:
    """The loss ``weight ℓ_a + (1 - weight) ℓ_b``, which goes wherever the name of a loss goes;
    `MixingWeight` tunes its weight.

    Both are evaluated in the same passes over X. Targets must suit both; third derivatives, kinks
    and the rest follow from both.

    Parameters
    ----------
    a, b : str or Loss
        Names, or what `find_loss` and `custom_loss` make: two losses of one output, both for labels
        -1 and +1 or both for numbers.
    weight : float
        Share of `a`, 0 <= weight <= 1.

    Returns
    -------
    fasthoag.losses.Loss

    Raises
    ------
    ValueError
        For a mix or "multinomial" in `a` or `b`, for two losses whose targets differ in kind, and
        for a weight outside [0, 1].

    Examples
    --------
    >>> import numpy as np, fasthoag
    >>> from fasthoag.losses import derivative
    >>> loss = fasthoag.mix_losses("logistic", "squared_hinge", weight=0.25)
    >>> loss.name, loss.has_kinks
    ('logistic+squared_hinge', True)
    >>> derivative(loss, 1, np.array([1.0]), np.array([0.0]))  # a quarter of -1/2, the rest of -2
    array([-1.625])
    """
    a, b = (_check_part(loss, name) for loss, name in ((a, "a"), (b, "b")))
    if a.is_classification != b.is_classification:
        labels, numbers = (a, b) if a.is_classification else (b, a)
        raise ValueError(
            "a and b must be losses for the same kind of targets; "
            f"'{labels.name}' is for labels -1 and +1, '{numbers.name}' for numbers"
        )
    mix = Loss(
        f"{a.name}+{b.name}",
        f"weight ({a.formula}) + (1 - weight) ({b.formula})",
        _common_domain(a.domain, b.domain),
        {"weight": 0.5},
        {"weight": (-1e-300, np.nextafter(1, 2))},
        is_classification=a.is_classification,
        is_quadratic=a.is_quadratic and b.is_quadratic,
        has_kinks=a.has_kinks or b.has_kinks,
        mixed=(a, b),
        link=a.link if a.link == b.link else "identity",
    )
    return find_loss(mix, weight=weight)


def _check_part(loss: str | Loss, name: str) -> Loss:
    try:
        loss = find_loss(loss)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if loss.mixed is not None or loss.n_classes != 1:
        raise ValueError(
            f"{name} must be a loss of one output that is no mix itself; got '{loss.name}'"
        )
    return loss


def _common_domain(first: Domain, second: Domain) -> Domain:
    """Targets that both domains accept, each of the known ones within the next."""
    known = [domain for domain in (POSITIVE, COUNTS, REAL) if domain in (first, second)]
    if first == second or len(known) == 2:
        return known[0] if known else first
    if REAL in known:
        return first if second == REAL else second
    return f"{first[0]} and {second[0]}", Both(first[1], second[1])


def without_smoothing(loss: Loss) -> Loss:
    """The loss that judges a model trained with this one: without label smoothing, also in the
    parts of a mix."""
    if loss.mixed is not None:
        return replace(loss, mixed=tuple(map(without_smoothing, loss.mixed)))
    return find_loss(loss, smoothing=0) if loss.name in ("logistic", MULTINOMIAL.name) else loss


def derivative(loss: str | Loss, order: int, y: ArrayLike, z: ArrayLike) -> Array:
    """The derivative of this order (0 to 3) of the loss (a name or a `Loss`) at every ``(y, z)``;
    arrays of one shape ``(n,)``. Of the multinomial loss the value only, with z (n, n_classes).

    Examples
    --------
    >>> import numpy as np
    >>> from fasthoag.losses import derivative
    >>> derivative("squared", 1, np.array([1.0]), np.array([3.0]))
    array([2.])
    """
    loss = find_loss(loss)
    y, z = np.ascontiguousarray(y, np.float64), np.ascontiguousarray(z, np.float64)
    rows = _core.Rows(y.ravel(), None, None, None)
    every_row = 0  # This is no part of the rows, so that all count, and without weights.
    z = z if loss.n_classes > 1 else z.reshape(-1, 1)
    # The value of a row stands in the first of its columns.
    return rows.terms(loss.native, order, every_row, z, 1)[:, 0]
