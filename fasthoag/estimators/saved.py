"""What a model file holds of a fitted estimator: enough to predict as it does."""

from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from fasthoag.arithmetic import our_arithmetic
from fasthoag.design import to_host
from fasthoag.estimators.kernel import KernelEstimator
from fasthoag.io.dual_model import DualModel
from fasthoag.io.model import Model


def model_of_estimator(estimator: Any) -> Model | DualModel:
    """The model of a fitted estimator; raises ValueError for a kernel that is a function."""
    check_is_fitted(estimator)
    common = of_search(estimator.hoag_result_)
    common["classes"] = estimator.classes_ if is_classifier(estimator) else ()
    if isinstance(estimator, KernelEstimator):
        return dual_model_of(estimator, common)
    lam = np.ravel(to_host(estimator.lam_))
    common["has_offset"] = vars(estimator).get("has_offset_", False)
    if "labels_" in vars(estimator):
        common |= {"classes": estimator.labels_, "has_labels": True}
    with our_arithmetic():  # Features without a penalty have λ = 0.
        common |= {"lam": lam, "theta": np.log(lam)}
    coef, intercept = (to_host(part) for part in (estimator.coef_, estimator.intercept_))
    return Model(estimator.loss_name, coef, intercept, **common)


def dual_model_of(estimator, common):
    kernel = estimator.kernel_
    return DualModel(
        estimator.loss_name,
        kernel=kernel.name if kernel.function is None else kernel.function,
        gamma=estimator.gamma_,
        X=estimator.X_fit_,
        dual_coef=estimator.dual_coef_,
        intercept=estimator.intercept_,
        degree=kernel.degree,
        coef0=kernel.shift,
        alpha=estimator.alpha_,
        **common,
    )


def of_search(results):
    """How the search ended; of several, a model for each class, the sum of their criteria and what
    is said of the first that did not converge."""
    results = results if isinstance(results, list) else [results]
    first = next((one for one in results if one.status != "converged"), results[0])
    return {
        "theta": np.concatenate([one.theta for one in results]),
        "value": sum(one.value for one in results),
        "value_error": sum(one.value_error for one in results),
        "status": first.status,
        "message": first.message,
    }
