"""The options of ``fasthoag tune``."""

from dataclasses import dataclass
from pathlib import Path

import fasthoag
from fasthoag.cli.options import (
    COUNTED_FROM,
    Debug,
    Exposure,
    Force,
    Json,
    Labels,
    Memory,
    Offset,
    Targets,
    Threads,
    WeightedLabels,
    argument,
    choice,
    option,
)
from fasthoag.estimators.strengths import PER
from fasthoag.kernels import KERNELS
from fasthoag.losses import LOSSES
from fasthoag.outer import METHODS, TRIALS
from fasthoag.outer.classic import SCHEDULES

DEFAULTS = fasthoag.hoag.__kwdefaults__
IN_SAMPLE = {
    "loo": fasthoag.ApproximateLOO,
    "gcv": fasthoag.GCV,
    "aic": fasthoag.AIC,
    "bic": fasthoag.BIC,
    "evidence": fasthoag.Evidence,
}

Criterion = choice("Criterion", ["cv", *IN_SAMPLE])
Loss, Per = choice("Loss", [*LOSSES, "multinomial"]), choice("Per", PER)
Method, Schedule = choice("Method", ["auto", *METHODS, *TRIALS]), choice("Schedule", SCHEDULES)
Kernel = choice("Kernel", KERNELS)
Device, Format = choice("Device", ["cpu", "gpu"]), choice("Format", ["fasthoag", "liblinear"])


@dataclass(frozen=True)
class TuneOptions:
    train: argument(
        Path,
        "LIBSVM text, plain or as bz2/gz/xz/zst, or a SciPy .npz with labels in .npy; - is stdin.",
    )
    valid: option(
        Path | None,
        "--valid",
        help="Rows to judge by; without it, K-fold cross-validation on TRAIN.",
    ) = None
    cv: option(
        int | None,
        "--cv",
        min=2,
        help="Folds, shuffled, and stratified for classes.  [default: 5]",
    ) = None
    criterion: option(
        Criterion,
        "--criterion",
        help="Without --valid: cross-validation, or a criterion that holds no rows out.",
    ) = "cv"
    test: option(
        Path | None,
        "--test",
        help="Rows that nothing is fitted or tuned on: the model's loss on them is reported.",
    ) = None
    loss: option(Loss, "--loss", help="Of the model and the criterion.") = "logistic"
    param: option(
        list[str] | None,
        "--param",
        metavar="NAME=VALUE",
        help="Parameter of the loss, such as delta=2 of huber, or smoothing=0.1 of labels, for "
        "training only.",
    ) = None
    kernel: option(
        Kernel | None,
        "--kernel",
        help="A kernel model, whose width is tuned too, for a few thousand rows; loss squared or "
        "logistic.",
    ) = None
    degree: option(int | None, "--degree", min=1, help="Of --kernel poly.  [default: 3]") = None
    coef0: option(float | None, "--coef0", min=0, help="Of --kernel poly.  [default: 1]") = None
    per: option(
        Per,
        "--per",
        help="One strength for all coefficients, or one each; with --kernel one width for each "
        "feature.",
    ) = "all"
    groups: option(
        Path | None,
        "--groups",
        help="A strength for each group: a label for every feature, one a line.",
    ) = None
    method: option(
        Method,
        "--method",
        help="newton: exact steps; lbfgs: many strengths; hoag: the method of the 2016 paper; "
        "grid, random, bayes: the best of --n-trials points.",
    ) = DEFAULTS["method"]
    n_trials: option(
        int | None,
        "--n-trials",
        min=1,
        help="Points that grid, random and bayes try within --bounds.  [default: 20]",
    ) = DEFAULTS["n_trials"]
    schedule: option(Schedule | None, "--schedule", help="Tolerances of method hoag.") = None
    out: option(
        Path | None,
        "--out",
        help="Write the model here; after Ctrl-C or SIGTERM the best so far.",
    ) = None
    file_format: option(
        Format, "--format", help="Of --out; LIBLINEAR's own predict reads the second."
    ) = "fasthoag"
    html: option(
        Path | None,
        "--report",
        help="Write an HTML page here; - is stdout, in place of the tables.",
    ) = None
    dry_run: option(
        bool,
        "--dry-run",
        help="Read the rows, say what the search will take in memory and time, and stop.",
    ) = False
    force: Force = False
    is_json: Json = False
    threads: Threads = None
    max_memory: Memory = None
    tol: option(
        float | None,
        "--tol",
        help="On the slope of the criterion, relative to its value.  [default: a hundredth of its "
        "standard error is left to gain]",
    ) = DEFAULTS["tol"]
    max_iter: option(
        int | None,
        "--max-iter",
        min=1,
        help="Outer steps at most.  [default: 50; 500 for lbfgs]",
    ) = DEFAULTS["max_iter"]
    max_seconds: option(
        float | None,
        "--max-seconds",
        min=1e-6,
        help="For the search; then the best point so far is taken, with exit code 3.",
    ) = DEFAULTS["max_seconds"]
    theta0: option(
        float | None, "--theta0", help="Start, θ = ln λ; found by a loose sweep by default."
    ) = None
    bounds: option(
        str | None,
        "--bounds",
        metavar="LOW,HIGH",
        help="Of θ; from the scale of the data by default.",
    ) = None
    seed: option(
        int | None,
        "--seed",
        min=0,
        help="Of the shuffling before folds are cut, and of methods random and bayes.  "
        "[default: 0]",
    ) = None
    no_intercept: option(bool, "--no-intercept", help="Fit no intercept.") = False
    zero_based: option(
        bool | None,
        COUNTED_FROM,
        help="From where text counts features; by default from 0 if any of the files has a 0, else "
        "from 1.",
    ) = None
    labels: Labels = None
    valid_labels: option(Path | None, "--valid-labels", help="The same for --valid.") = None
    test_labels: option(Path | None, "--test-labels", help="The same for --test.") = None
    targets: Targets = None
    valid_targets: option(Path | None, "--valid-targets", help="The same for --valid.") = None
    test_targets: option(Path | None, "--test-targets", help="The same for --test.") = None
    multilabel: option(
        bool,
        "--multilabel",
        help="Rows of text may have several labels, as 1,3,7, or none: each label is a model of "
        "its own against all others.",
    ) = False
    sample_weight: option(
        Path | None,
        "--sample-weight",
        help="A weight for every row of TRAIN, one a line or .npy, as LIBSVM's -W.",
    ) = None
    valid_sample_weight: option(
        Path | None, "--valid-sample-weight", help="The same for --valid."
    ) = None
    test_sample_weight: option(Path | None, "--test-sample-weight", help="The same for --test.") = (
        None
    )
    weighted_labels: WeightedLabels = False
    class_weight: option(
        list[str] | None,
        "--class-weight",
        metavar="LABEL:WEIGHT|balanced",
        help="Multiplies the weights of rows of a label, as LIBLINEAR's -wi; several by commas. "
        "balanced: inversely to how many rows of TRAIN have it.",
    ) = None
    fold_groups: option(
        Path | None,
        "--fold-groups",
        help="A label for every row of TRAIN, one a line or .npy: rows with the same stay together "
        "where folds are cut. By default qid: in TRAIN.",
    ) = None
    ignore_qid: option(bool, "--ignore-qid", help="Cut folds through queries (qid:).") = False
    offset: Offset = None
    exposure: Exposure = None
    valid_offset: option(Path | None, "--valid-offset", help="Of the rows of --valid.") = None
    valid_exposure: option(Path | None, "--valid-exposure", help="Of the rows of --valid.") = None
    test_offset: option(Path | None, "--test-offset", help="Of the rows of --test.") = None
    test_exposure: option(Path | None, "--test-exposure", help="Of the rows of --test.") = None
    float32: option(
        bool,
        "--float32",
        help="Store the values in half the memory; sums stay in double precision.",
    ) = False
    low_memory: option(
        bool, "--low-memory", help="Make no second copy of the data, at some cost in speed."
    ) = False
    deterministic: option(
        bool, "--deterministic", help="The same bits for every number of threads; slower."
    ) = False
    device: option(
        Device, "--device", help="gpu: one NVIDIA GPU through CuPy; see fasthoag info."
    ) = "cpu"
    debug: Debug = False
