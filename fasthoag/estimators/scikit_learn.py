"""What scikit-learn's estimators take beside the parameters of ours: a class for each that others
of its kind inherit."""

from collections.abc import Mapping
from typing import Any

from fasthoag.estimators.parameters import with_parameters
from fasthoag.estimators.passive import passive
from fasthoag.kinds import numbers_of
from fasthoag.types import ArrayLike

NO_L1 = (
    "is not there: the strength of the ℓ2 norm is tuned, {write}; keep scikit-learn's {theirs} for "
    "the ℓ1 norm, which is not there yet"
)
SAME_MODEL = "Ways to the same optimum: nothing depends on it."
NO_SOLVER = "is none of scikit-learn's; leave it out: all are ways to the same optimum"


def is_no_l1_ratio(value: Any) -> bool:
    """Whether these ratios ask for no part of the ℓ1 norm: None, "warn" (scikit-learn's default)
    or zeros."""
    if value is None or isinstance(value, str):
        return value is None or value == "warn"
    ratios = numbers_of(value, "l1_ratios")
    return ratios.size > 0 and bool((ratios == 0).all())


@with_parameters()
class OfSupportVectorRegression:
    """Those of LinearSVR."""

    dual: bool | str = passive(
        default=False,
        values=(False, True, "auto"),
        means=SAME_MODEL,
        instead=NO_SOLVER,
    )
    intercept_scaling: float = passive(
        default=1.0,
        values=(1,),
        kind="1",
        means="The intercept is not penalised, so that there is nothing to scale.",
        instead="has no meaning where the intercept is not penalised; leave it out, or pass a "
        "constant column of X with fit_intercept=False for an intercept that is",
    )


@with_parameters()
class OfSupportVectorClassifier(OfSupportVectorRegression):
    """Those of LinearSVC."""

    penalty: str = passive(
        default="l2",
        values=("l2",),
        means="Its strength is tuned.",
        instead=NO_L1.format(write='penalty="l2"', theirs="LinearSVC"),
    )
    multi_class: str = passive(
        default="ovr",
        values=("ovr",),
        means="Each class against the rest.",
        instead="is not there: each class is against the rest; leave it out, or keep "
        "scikit-learn's LinearSVC for crammer_singer",
    )


@with_parameters()
class OfLogisticRegression(OfSupportVectorRegression):
    """Those of LogisticRegressionCV, of today and of earlier versions."""

    penalty: str = passive(
        default="l2",
        values=("l2", "deprecated"),
        means="Its strength is tuned.",
        instead=NO_L1.format(
            write='penalty="l2" (no penalty is Cs=[np.inf])', theirs="LogisticRegressionCV"
        ),
    )
    l1_ratios: ArrayLike | str | None = passive(
        default=None,
        values=is_no_l1_ratio,
        kind='zeros, "warn" or None',
        means="The share of the ℓ1 norm, which is not there yet.",
        instead=NO_L1.format(write="l1_ratios=(0,)", theirs="LogisticRegressionCV"),
    )
    solver: str = passive(
        default="lbfgs",
        values=("lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga"),
        means=f"{SAME_MODEL}\n    (The intercept is not penalised, by liblinear neither.)",
        instead=NO_SOLVER,
    )
    multi_class: str = passive(
        default="auto",
        values=("auto", "multinomial", "deprecated"),
        means="More than 2 classes have the multinomial loss, two the logistic one.",
        instead="is not there: more than 2 classes have the multinomial loss; for each against the "
        "rest write sklearn.multiclass.OneVsRestClassifier(LogisticRegressionCV())",
    )


@with_parameters()
class OfRidge:
    """Those of Ridge and RidgeClassifier."""

    solver: str = passive(
        default="auto",
        values=("auto", "svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga", "lbfgs"),
        means=SAME_MODEL,
        instead=NO_SOLVER,
    )
    copy_X: bool = passive(
        default=True,
        values=(True, False),
        means="X is never changed.",
        instead="is neither True nor False; leave it out: X is never changed",
    )
    positive: bool = passive(
        default=False,
        values=(False,),
        means="Coefficients have any sign.",
        instead="is not there: coefficients have any sign; leave it out, or keep scikit-learn's "
        "Ridge(positive=True) with a grid",
    )


@with_parameters()
class OfRidgeCV(OfRidge):
    """Those of RidgeCV."""

    gcv_mode: str | None = passive(
        default=None,
        values=(None, "auto", "svd", "eigen"),
        means="Ways to one number: nothing depends on it.",
        instead="is none of None, auto, svd and eigen; leave it out: nothing depends on it",
    )


@with_parameters()
class OfGeneralizedLinearRegression:
    """Those of PoissonRegressor, GammaRegressor and TweedieRegressor."""

    solver: str = passive(
        default="lbfgs",
        values=("lbfgs", "newton-cholesky"),
        means=SAME_MODEL,
        instead=NO_SOLVER,
    )


@with_parameters()
class OfQuantileRegression:
    """Those of QuantileRegressor."""

    solver: str = passive(
        default="highs",
        values=("highs", "highs-ds", "highs-ipm", "interior-point", "revised simplex"),
        means=SAME_MODEL,
        instead=NO_SOLVER,
    )
    solver_options: Mapping[str, Any] | None = passive(
        default=None,
        values=(None,),
        means="No linear program is solved.",
        instead="is for scikit-learn's linear programs, and none is solved here; leave it out",
    )
