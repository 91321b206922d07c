"""Kernel models on the command line."""

import typer

import fasthoag
from fasthoag.kernels import KERNELS
from fasthoag.kernels.kernel import LOSSES


def check_kernel(asked):
    """Options that a kernel model would not use are an error, and those of one that is not asked
    for."""
    if asked.kernel != "poly" and (asked.degree is not None or asked.coef0 is not None):
        raise typer.BadParameter("--degree and --coef0 are of --kernel poly.")
    if asked.kernel is None:
        return
    for name, is_asked in (
        ("--param", bool(asked.param)),
        ("--groups", asked.groups is not None),
        ("--theta0", asked.theta0 is not None),
        ("--format liblinear", asked.file_format == "liblinear"),
        ("--float32", asked.float32),
        ("--low-memory", asked.low_memory),
        ("--deterministic", asked.deterministic),
        ("--dry-run", asked.dry_run),
        (f"--loss {asked.loss}", asked.loss not in LOSSES),
        (f"--criterion {asked.criterion}", asked.criterion not in ("cv", "loo")),
        ("--criterion loo", asked.criterion == "loo" and asked.loss != "squared"),
        (f"--per {asked.per}", asked.per not in ("all", "feature")),
        ("--per feature", asked.per == "feature" and not KERNELS[asked.kernel].has_width),
    ):
        if is_asked:
            loss = " with loss logistic" if name == "--criterion loo" else ""
            raise typer.BadParameter(f"--kernel {asked.kernel}{loss} excludes {name}.")


def make_kernel_problem(asked, data):
    X, y = data.train
    n, p = X.shape
    # Kernels of dense rows are much faster, and such rows take no more memory so.
    is_dense = asked.per == "feature" or asked.device == "gpu" or 8 * n * p <= 12 * X.nnz
    return fasthoag.KernelProblem(
        X.toarray() if is_dense else X,
        y,
        kernel=asked.kernel,
        loss=asked.loss,
        per_feature=asked.per == "feature",
        degree=asked.degree,
        coef0=asked.coef0,
        device=asked.device,
        fit_intercept=not asked.no_intercept,
        sample_weight=data.carried.weights["train"],
    )
