"""What has a strength of its own, as estimators and the command line are asked for it."""

import numpy as np

from fasthoag.penalties import FeatureRidge, GroupRidge, PerClass, Ridge

PER = "all", "feature", "class", "feature_class"


def penalty_for(per, factor=None, n_classes=1):
    """The penalty with a strength of its own for each of what `per` says.

    Parameters
    ----------
    per : {"all", "feature", "class", "feature_class"} or groups
        Groups are those of `GroupRidge`. Classes are those of the multinomial loss.
    factor : array, shape (n_features,), optional
        Fixed relative strengths.
    n_classes : int
        Classes of the multinomial loss; 1 with every other loss.
    """
    is_name = isinstance(per, str)
    if per is None or (per not in PER if is_name else np.isscalar(per)):
        raise ValueError(
            'penalty_per must be "all", "feature", "class", "feature_class" or groups of '
            f"features; got {per!r}"
        )
    if not is_name:
        return GroupRidge(per, factor)
    if "class" not in per:
        return Ridge(factor) if per == "all" else FeatureRidge(factor)
    if n_classes < 2:
        raise ValueError(
            f'penalty_per="{per}" is for the multinomial loss: LogisticRegressionCV with more than '
            "2 classes"
        )
    return PerClass(Ridge(factor) if per == "class" else FeatureRidge(factor), n_classes)
