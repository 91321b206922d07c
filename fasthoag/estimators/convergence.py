"""The warning that filters for ours and filters for scikit-learn's both know."""

from sklearn import exceptions

from fasthoag.outer import result


class ConvergenceWarning(result.ConvergenceWarning, exceptions.ConvergenceWarning):
    """`fasthoag.ConvergenceWarning` as a kind of scikit-learn's warning of this name."""
