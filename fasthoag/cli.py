"""The command ``fasthoag``: tune, predict, info and demo. It needs the extra ``fasthoag[cli]``.

Exit codes: 0 converged; 1 an error, one sentence on stderr; 2 wrong usage; 3 a result that did not
converge or lies at a bound (it is printed and written all the same); 130 interrupted. Results go to
stdout, everything else to stderr. A result that cannot be written is printed, as the search may
have taken hours."""

import os
import sys
import time
import warnings
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import Annotated

import numpy as np

try:
    import rich  # noqa: F401  (typer alone would draw no tables)
    import typer
except ImportError:
    raise SystemExit('The command line needs typer and rich: pip install "fasthoag[cli]"') from None

import fasthoag
from fasthoag import io, report
from fasthoag.losses import LOSSES, derivative, find_loss, without_smoothing
from fasthoag.outer import METHODS
from fasthoag.outer.classic import SCHEDULES

NOT_CONVERGED, INTERRUPTED = 3, 130
DEFAULTS = fasthoag.hoag.__kwdefaults__  # said once, there

app = typer.Typer(
    name="fasthoag",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Tune the penalty of large sparse linear models by gradient.",
    epilog="Exit codes: 0 converged, 1 error, 2 wrong usage, 3 not converged or at a bound, 130 "
    "interrupted.",
)


def main():
    for stream in (sys.stdout, sys.stderr):
        # a terminal without λ shows ? instead of failing at the end of a long run
        stream.reconfigure(errors="replace")
    app(prog_name="fasthoag")


# ---- options ----


def choice(name, values):
    return Enum(name, {value: value for value in values}, type=str)


IN_SAMPLE = {
    "loo": fasthoag.ApproximateLOO,
    "gcv": fasthoag.GCV,
    "aic": fasthoag.AIC,
    "bic": fasthoag.BIC,
    "evidence": fasthoag.Evidence,
}
Criterion = choice("Criterion", ["cv", *IN_SAMPLE])
Loss, Per = (
    choice("Loss", [*LOSSES, "multinomial"]),
    choice("Per", ["all", "feature", "class", "feature_class"]),
)
Method, Schedule = choice("Method", ["auto", *METHODS]), choice("Schedule", SCHEDULES)
Device = choice("Device", ["cpu", "gpu"])
Format, DemoData = (
    choice("Format", ["fasthoag", "liblinear"]),
    choice("DemoData", ["digits", "breast_cancer", "20newsgroups"]),
)


def option(kind, *names, help, **settings):
    return Annotated[kind, typer.Option(*names, help=help, **settings)]


Json = option(bool, "--json", help="Print one JSON object instead of tables.")
Debug = option(bool, "--debug", help="Show the traceback of an error.")
Force = option(bool, "--force", help="Replace output files that exist.")
Threads = option(
    int | None, "--threads", min=1, help="All cores that this process may use by default."
)
Labels = option(
    Path | None,
    "--labels",
    help="Labels (.npy) of a .npz file; by default the same name with .npy.",
)
COUNTED_FROM = "--zero-based/--one-based"


def parse_bounds(text):
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"need two numbers LOW,HIGH; got {text!r}", param_hint="--bounds"
        ) from None
    return low, high


# ---- what all commands share ----


def command(function):
    """Register a command whose errors become one sentence on stderr and an exit code; its return
    value is the exit code."""

    @app.command()
    @wraps(function)
    def run(*args, debug, **options):
        with warnings.catch_warnings():
            # said by the exit code and our own sentence
            warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
            warnings.showwarning = lambda message, *_: say(f"warning: {message}")
            try:
                code = function(*args, debug=debug, **options)
            except KeyboardInterrupt:
                say("interrupted.")
                code = INTERRUPTED
            except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
                raise
            except Exception as error:
                if debug:
                    raise
                say(describe(error))
                code = 1
        raise typer.Exit(code or 0)

    return run


def say(sentence):
    typer.echo(f"fasthoag: {sentence}", err=True)


def describe(error):
    """An exception as a sentence for someone who does not read Python."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return str(error) or "out of memory; --float32 and --low-memory need less."
    if isinstance(error, (ValueError, OSError)):
        return " ".join(str(error).split())
    return (
        f"internal error, {type(error).__name__}: {error}. Please report it with what --debug "
        "prints."
    )


def print_table(rows, head=()):
    """Rows of texts on stdout: a drawn table on a terminal, else columns of plain text that other
    programs can read."""
    rows = [[str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console

        table = make_table(head)
        for row in rows:
            table.add_row(*row)
        Console().print(table)
    else:
        rows = [list(head)] * bool(head) + rows
        widths = [max(map(len, column)) for column in zip(*rows, strict=False)]
        for row in rows:
            typer.echo(
                "  ".join(
                    cell.ljust(width) for cell, width in zip(row, widths, strict=False)
                ).rstrip()
            )


def make_table(head):
    from rich import box
    from rich.table import Table

    # the trace fits in 80 columns
    return Table(*head, show_header=bool(head), box=box.SIMPLE_HEAD, show_edge=False, padding=0)


@contextmanager
def live_trace(is_kept):
    """A callback for `hoag` that shows every outer step on stderr while it runs; None when stderr
    is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.live import Live

    table = make_table(report.TRACE_COLUMNS)
    with Live(table, console=Console(stderr=True), refresh_per_second=8, transient=not is_kept):
        yield lambda record: table.add_row(*report.trace_row(record))


def check_target(path, force, inputs=()):
    """Raises before any work when a file cannot be written later, or would replace an input: one of
    (path, labels)."""
    if path is None:
        return
    if path.exists() and not path.is_file():
        # a device would be replaced by a file
        raise ValueError(f"{path} is not an ordinary file; give another name.")
    if path.exists() and any(
        other.exists() and path.samefile(other) for other in list_read(inputs)
    ):
        raise ValueError(f"{path} is one of the inputs; give another name.")
    if os.path.lexists(path) and not force:
        raise ValueError(f"{path} exists; --force replaces it.")
    folder = Path(os.path.realpath(path)).parent  # a link stays a link
    if not folder.is_dir():
        raise ValueError(f"{path}: there is no folder {folder}; make it first.")
    try:
        io._check_writable(path)
    except OSError as error:
        raise ValueError(
            f"{path}: the folder {folder} cannot be written to ({error.strerror}); give another "
            "name."
        ) from None


def list_read(inputs):
    """All files behind (path, labels): the labels of a .npz are beside it by default."""
    for path, labels in inputs:
        if path is not None:
            yield path
            if labels is not None or path.suffix.lower() == ".npz":
                yield labels or path.with_suffix(".npy")


def write(path, text, force):
    """Put the text under `path` at once, as model files are: never a part of it."""
    # names of files, which a report holds, may be bytes of any encoding
    io._write(path, text.encode(errors="replace"), force)


def read(files, threads, zero_based, **options):
    """`fasthoag.io._read_together`; threads only where a format has a use for them."""
    if not all(io._is_npz(path) for path, _ in files):
        options["n_threads"] = threads
    if zero_based is not None:
        options["zero_based"] = zero_based
    return io._read_together(files, **options)


def shown(labels):
    """The first labels as text, with all their digits."""
    texts = [np.format_float_positional(label, trim="-") for label in labels[:5]]
    return ", ".join(texts) + (", ..." if len(labels) > 5 else "")


def find_classes(y, path, is_multinomial=False):
    classes = np.unique(y)
    if is_multinomial and len(classes) > 1:
        return classes
    if len(classes) != 2:
        raise ValueError(
            f"{path} has {len(classes)} distinct labels ({shown(classes)}), but this loss needs "
            "exactly two; --loss multinomial is for more, --loss squared for regression."
        )
    return classes


def to_targets(y, classes, path, is_multinomial):
    """The two labels as -1 and +1 in the order of `classes`, or the numbers of the classes."""
    is_unknown = ~np.isin(y, classes)
    if is_unknown.any():
        raise ValueError(
            f"{path} has the label {shown(y[is_unknown][:1])}, which the training rows do not "
            f"have: theirs are {shown(classes)}. Relabel the rows, or leave them out."
        )
    return (
        np.searchsorted(classes, y).astype(float)
        if is_multinomial
        else np.where(y == classes[1], 1.0, -1.0)
    )


# ---- tune ----


def load_rows(files, loss, threads, zero_based, dtype):
    """A list of (X, y) for (path, labels) pairs, all with the same features; the first's classes
    (empty for regression); and whether text counts features from 0, "auto" without text."""
    # LIBSVM's own programs count in 32 bits; a search holds more than 16 arrays as long as the
    # coefficients (28 at least, measured: --criterion gcv --low-memory)
    max_features = min(2**31 - 1, io._max_features(16))
    found, is_zero_based = read(files, threads, zero_based, dtype=dtype, max_features=max_features)
    paths = [path for path, _ in files]
    Xs, ys, have_feature_0 = zip(*found, strict=True)
    if zero_based is None:
        warn_of_base(paths, have_feature_0)
    # a text file ends at the last feature that occurs in it
    n_features = max(X.shape[1] for X in Xs)
    if n_features == 0:
        raise ValueError(f"{paths[0]}: no row has any feature.")
    for X in Xs:
        X.resize(X.shape[0], n_features)
    classes = np.empty(0)
    if find_loss(loss).is_classification:
        is_multinomial = loss == "multinomial"
        classes = find_classes(ys[0], paths[0], is_multinomial)
        ys = [
            to_targets(y, classes, path, is_multinomial) for path, y in zip(paths, ys, strict=False)
        ]
    return list(zip(Xs, ys, strict=False)), classes, is_zero_based


def warn_of_base(paths, have_feature_0):
    """Say it where the files leave open whether their text counts features alike."""
    says_it = "--zero-based or --one-based says it."
    if have_feature_0[0] is False and True in have_feature_0:
        say(
            f"warning: {paths[0]} has no feature 0, but {paths[have_feature_0.index(True)]} has, "
            f"so all are taken to count features from 0; {says_it}"
        )
    elif None in have_feature_0 and False in have_feature_0 and True not in have_feature_0:
        say(
            f"warning: {paths[have_feature_0.index(False)]} has no feature 0, and columns of "
            f"{paths[have_feature_0.index(None)]} have no numbers: features in text are taken to "
            f"count from 1; {says_it}"
        )


def make_folds(n_folds, loss, seed):
    """Shuffled folds, stratified for two classes: the rows of files are often in the order of their
    classes."""
    from sklearn.model_selection import KFold, StratifiedKFold

    splitter = StratifiedKFold if find_loss(loss).is_classification else KFold
    return fasthoag.KFold(splitter(n_folds, shuffle=True, random_state=seed))


def fit(problem, criterion, *, keeps_trace=True, **settings):
    """`hoag`, then coefficients for all training rows: the result, w (n_features +
    fit_intercept,)."""
    with live_trace(keeps_trace) as callback:
        result = fasthoag.hoag(problem, criterion, callback=callback, **settings)
    if isinstance(criterion, fasthoag.HeldOut):
        return result, result.w[:, 0]  # trained on just these rows
    from fasthoag.problem import refit

    threads = settings.get("n_threads")
    w, _, is_converged = refit(
        problem.with_threads(threads) if threads else problem, result.theta, result.w_all
    )
    if not is_converged and result.status == "converged":
        message = "The last fit, on all rows, did not converge; scale the features."
        result = replace(result, status="inner_failed", message=message)
    return result, np.asarray(w)


def parse_parameters(loss, texts):
    """The loss with the parameters of ``--param NAME=VALUE``."""
    parameters = {}
    for text in texts or []:
        name, _, value = text.partition("=")
        try:
            parameters[name] = float(value)
        except ValueError:
            raise typer.BadParameter(
                f"need NAME=NUMBER; got {text!r}", param_hint="--param"
            ) from None
    return fasthoag.find_loss(loss, **parameters)


def make_penalty(per, groups, loss, n_classes):
    """The penalty of ``--per`` and ``--groups``: a file with a label for every feature, one a
    line."""
    if groups is not None:
        if per != "all":
            raise typer.BadParameter("--groups excludes --per.")
        return fasthoag.GroupRidge(np.array(groups.read_text(encoding="utf-8").splitlines()))
    if per in ("class", "feature_class"):
        if loss != "multinomial":
            raise typer.BadParameter(f"--per {per} needs --loss multinomial.")
        return fasthoag.PerClass(
            fasthoag.FeatureRidge() if per == "feature_class" else fasthoag.Ridge(), n_classes
        )
    return fasthoag.FeatureRidge() if per == "feature" else fasthoag.Ridge()


def make_model(problem, result, w, classes, zero_based="auto"):
    p = problem.n_features
    intercept = w[p] if problem.fit_intercept else np.zeros(w.shape[1:])
    return io.Model(
        problem.loss.name,
        coef=w[:p].T,
        intercept=intercept,
        classes=classes,
        theta=result.theta,
        lam=result.lam,
        value=result.value,
        value_error=result.value_error,
        status=result.status,
        message=result.message,
        zero_based=zero_based,
    )


def finish(result):
    """The exit code, with a sentence when it is not 0."""
    if result.status == "converged":
        return 0
    say(f"{result.status}: {result.message}")
    return NOT_CONVERGED


@command
def tune(
    train: Annotated[
        Path,
        typer.Argument(
            help="LIBSVM text, plain or .bz2/.gz/.xz, or a SciPy .npz with labels in .npy."
        ),
    ],
    valid: option(
        Path | None,
        "--valid",
        help="Rows to judge by; without it, K-fold cross-validation on TRAIN.",
    ) = None,
    cv: option(
        int | None,
        "--cv",
        min=2,
        help="Folds, shuffled, and stratified for two classes.  [default: 5]",
    ) = None,
    criterion: option(
        Criterion,
        "--criterion",
        help="Without --valid: cross-validation, or a criterion that holds no rows out.",
    ) = "cv",
    test: option(
        Path | None,
        "--test",
        help="Rows that nothing is fitted or tuned on: the model's loss on them is reported.",
    ) = None,
    loss: option(Loss, "--loss", help="Of the model and the criterion.") = "logistic",
    param: option(
        list[str] | None,
        "--param",
        metavar="NAME=VALUE",
        help="Parameter of the loss, such as delta=2 of huber, or smoothing=0.1 of labels, for "
        "training only.",
    ) = None,
    per: option(Per, "--per", help="One strength for all coefficients, or one each.") = "all",
    groups: option(
        Path | None,
        "--groups",
        help="A strength for each group: a label for every feature, one a line.",
    ) = None,
    method: option(
        Method,
        "--method",
        help="newton: exact steps; lbfgs: many strengths; hoag: the method of the 2016 paper.",
    ) = DEFAULTS["method"],
    schedule: option(Schedule | None, "--schedule", help="Tolerances of method hoag.") = None,
    out: option(Path | None, "--out", help="Write the model here.") = None,
    file_format: option(
        Format, "--format", help="Of --out; LIBLINEAR's own predict reads the second."
    ) = "fasthoag",
    html: option(Path | None, "--report", help="Write an HTML page here.") = None,
    force: Force = False,
    is_json: Json = False,
    threads: Threads = None,
    tol: option(
        float, "--tol", help="On the slope of the criterion, relative to its value."
    ) = DEFAULTS["tol"],
    max_iter: option(
        int | None,
        "--max-iter",
        min=1,
        help="Outer steps at most.  [default: 50; 500 for lbfgs]",
    ) = DEFAULTS["max_iter"],
    theta0: option(
        float | None, "--theta0", help="Start, θ = ln λ; found by a loose sweep by default."
    ) = None,
    bounds: option(
        str | None,
        "--bounds",
        metavar="LOW,HIGH",
        help="Of θ; from the scale of the data by default.",
    ) = None,
    seed: option(
        int | None, "--seed", min=0, help="Of the shuffling before folds are cut.  [default: 0]"
    ) = None,
    no_intercept: option(bool, "--no-intercept", help="Fit no intercept.") = False,
    zero_based: option(
        bool | None,
        COUNTED_FROM,
        help="From where text counts features; by default from 0 if any of the files has a 0, else "
        "from 1.",
    ) = None,
    labels: Labels = None,
    valid_labels: option(Path | None, "--valid-labels", help="The same for --valid.") = None,
    test_labels: option(Path | None, "--test-labels", help="The same for --test.") = None,
    float32: option(
        bool,
        "--float32",
        help="Store the values in half the memory; sums stay in double precision.",
    ) = False,
    low_memory: option(
        bool, "--low-memory", help="Make no second copy of the data, at some cost in speed."
    ) = False,
    deterministic: option(
        bool, "--deterministic", help="The same bits for every number of threads; slower."
    ) = False,
    device: option(
        Device, "--device", help="gpu: one NVIDIA GPU through CuPy; see fasthoag info."
    ) = "cpu",
    debug: Debug = False,
):
    """Find the strength of the penalty that gives the least loss on held-out rows, and the model
    for it."""
    bounds = None if bounds is None else parse_bounds(bounds)
    per = per.value
    loss, method, file_format, schedule = (
        loss.value,
        method.value,
        file_format.value,
        schedule and schedule.value,
    )
    criterion = criterion.value
    check_together(
        valid, cv, seed, valid_labels, out, file_format, html, criterion, test, test_labels
    )
    inputs = ((train, labels), (valid, valid_labels), (test, test_labels), (groups, None))
    for path in (out, html):
        check_target(path, force, inputs)
    if file_format == "liblinear":
        io._liblinear_solver(loss)
    cv, seed = (cv or 5, seed or 0) if valid is None and criterion == "cv" else (None, None)
    dtype = np.float32 if float32 else np.float64
    files = [pair for pair in inputs[:3] if pair[0] is not None]
    ((X, y), *others), classes, is_zero_based = load_rows(files, loss, threads, zero_based, dtype)
    if file_format == "liblinear" and classes.size:
        io._liblinear_labels(classes)
    storage = {"low_memory": low_memory, "deterministic": deterministic, "device": device.value}
    penalty = make_penalty(per, groups, loss, len(classes))
    problem = fasthoag.Problem(
        X,
        y,
        loss=parse_parameters(loss, param),
        penalty=penalty,
        fit_intercept=not no_intercept,
        **storage,
    )
    if test is not None:
        problem.loss.check_y(others[-1][1], f"the labels of {test}")
    judge, rule = others[0] if valid is not None else None, criterion
    criterion = (
        fasthoag.HeldOut(*judge)
        if judge
        else make_folds(cv, loss, seed)
        if rule == "cv"
        else IN_SAMPLE[rule]()
    )
    options = {
        "method": method,
        "theta0": theta0,
        "bounds": bounds,
        "tol": tol,
        "max_iter": max_iter,
        "schedule": schedule,
    }
    result, w = fit(problem, criterion, n_threads=threads, **options)
    # the others are no sums of losses
    n_held_out = len(judge[1] if judge else y) if rule in ("cv", "loo", "gcv") else None
    unseen = judge_rows(problem, w, *others[-1]) if test is not None else None
    settings = (
        options
        | storage
        | {
            "train": str(train),
            "valid": valid and str(valid),
            "test": test and str(test),
            "criterion": "valid" if judge else rule,
            "cv": cv,
            "seed": seed,
            "loss": loss,
            "param": param,
            "per": per,
            "groups": groups and str(groups),
            "threads": threads,
            "zero_based": None if is_zero_based == "auto" else is_zero_based,
            "fit_intercept": not no_intercept,
            "dtype": np.dtype(dtype).name,
            "n_rows": X.shape[0],
            "n_features": X.shape[1],
            "out": out and str(out),
            "format": out and file_format,
        }
    )
    written = []
    try:
        if out is not None:
            save = fasthoag.save_liblinear if file_format == "liblinear" else fasthoag.save_model
            save(out, make_model(problem, result, w, classes, is_zero_based), overwrite=force)
            written.append(("model", out))
        if html is not None:
            write(html, report.page(result, n_held_out, settings, unseen), force)
            written.append(("report", html))
    finally:
        # after a failure too, and only now: what is said to be written is
        if out is not None and not written:
            settings |= {"out": None, "format": None}
        if is_json:
            typer.echo(report.dump(report.to_dict(result, n_held_out, settings, unseen)))
        else:
            print_table(report.summary(result, n_held_out, unseen) + written)
    return finish(result)


def judge_rows(problem, w, X, y):
    """What the model is worth on rows that nothing was fitted or tuned on."""
    z = X @ w[: problem.n_features] + (w[problem.n_features] if problem.fit_intercept else 0.0)
    loss = problem.loss
    if loss.n_classes > 1:
        from scipy.special import logsumexp

        losses, is_right = (
            logsumexp(z, axis=1) - z[np.arange(len(y)), y.astype(int)],
            z.argmax(axis=1) == y,
        )
    else:
        losses, is_right = derivative(without_smoothing(loss), 0, y, z), (z > 0) == (y > 0)
    return {"n_rows": len(y), "mean_loss": float(losses.mean())} | (
        {"accuracy": float(is_right.mean())} if loss.is_classification else {}
    )


def check_together(
    valid, cv, seed, valid_labels, out, file_format, html, criterion, test, test_labels
):
    """Options that would not be used are an error."""
    if criterion != "cv" and (valid is not None or cv is not None or seed is not None):
        raise typer.BadParameter(
            f"--criterion {criterion} holds no rows out; it excludes --valid, --cv and --seed."
        )
    if test is None and test_labels is not None:
        raise typer.BadParameter("--test-labels needs --test.")
    if valid is not None and (cv is not None or seed is not None):
        raise typer.BadParameter("--valid excludes --cv and --seed, which cut TRAIN into folds.")
    if valid is None and valid_labels is not None:
        raise typer.BadParameter("--valid-labels needs --valid.")
    if out is None and file_format != "fasthoag":
        raise typer.BadParameter("--format needs --out.")
    if None not in (out, html) and os.path.realpath(out) == os.path.realpath(html):
        raise typer.BadParameter("--out and --report are the same file.")


# ---- predict ----


@command
def predict(
    model: Annotated[Path, typer.Argument(help="What tune --out wrote.")],
    data: Annotated[
        Path,
        typer.Argument(help="Rows, in the formats that tune reads; a .npz needs no labels here."),
    ],
    out: option(Path | None, "--out", help="Write here instead of stdout.") = None,
    proba: option(
        bool, "--proba", help="Probability of the second (larger) label instead of labels."
    ) = False,
    labels: Labels = None,
    zero_based: option(
        bool | None,
        COUNTED_FROM,
        help="From where text counts features; by default as in training.",
    ) = None,
    force: Force = False,
    threads: Threads = None,
    debug: Debug = False,
):
    """Write a label, a probability or a prediction for every row; say how good they are when labels
    are known."""
    check_target(out, force, ((model, None), (data, labels)))
    fitted = fasthoag.load_model(model)
    if not (np.isfinite(fitted.coef).all() and np.isfinite(fitted.intercept).all()):
        raise ValueError(f"{model} has coefficients that are not finite; tune again.")
    X, y = read_rows_for(fitted, model, data, labels, threads, zero_based)
    is_judged = y is not None and check_labels(fitted, model, data, y)
    predicted = fitted.predict(X)
    values = fitted.predict_proba(X)[:, 1] if proba else predicted
    text = "".join(
        f"{value:.17g}\n" if values.dtype.kind in "fiu" else f"{value}\n" for value in values
    )
    if out is None:
        typer.echo(text, nl=False)
    else:
        write(out, text, force)
    if is_judged and fitted.classes.size == 0:
        typer.echo(
            f"mean squared error {np.mean((predicted - y) ** 2):.6g} on {len(y)} rows", err=True
        )
    elif is_judged:
        n_right = int((predicted == y).sum())
        typer.echo(f"accuracy {n_right / len(y):.6g} ({n_right} of {len(y)} rows)", err=True)


def read_rows_for(fitted, model, path, labels, threads, zero_based):
    """X with the model's number of features, and y or None."""
    n_features, is_text = fitted.coef.shape[1], not io._is_npz(path)
    if zero_based is None and fitted.zero_based is True and is_text:
        zero_based = True
    ((X, y, has_feature_0),), _ = read(
        [(path, labels)], threads, zero_based, n_features=n_features, needs_labels=False
    )
    if zero_based is None and has_feature_0 and fitted.zero_based is False:
        raise ValueError(
            f"{path} has a feature 0, but {model} was trained on text whose features count from 1: "
            "say --zero-based if only this file counts from 0; if the training rows do too, tune "
            "again with --zero-based."
        )
    if zero_based is None and has_feature_0 is False and fitted.zero_based == "auto":
        say(
            f"warning: {path} has no feature 0, and {model} does not hold whether its text had: "
            "features are taken to count from 1; --one-based or --zero-based says it."
        )
    if X.shape[1] > n_features:
        raise ValueError(
            f"{path} has features beyond the {n_features} that the model was trained on; drop them."
        )
    if X.shape[1] < n_features:
        say(
            f"{path} has only the first {X.shape[1]} of the {n_features} features of the model; "
            "the others are taken as 0."
        )
    X.resize(X.shape[0], n_features)
    return X, y


def check_labels(fitted, model, path, y):
    """Whether the labels can judge predictions; raises for labels that the model does not know."""
    found, classes = np.unique(y), fitted.classes
    if classes.size and classes.dtype.kind not in "fiu":
        say(f"no accuracy: the labels of {model} are names, those of {path} are numbers.")
        return False
    unknown = found[~np.isin(found, classes)] if classes.size else found[found == 0]
    # LIBSVM's custom: rows without labels have one all the same
    if len(found) == len(unknown) == 1:
        say(
            f"no {'accuracy' if classes.size else 'mean squared error'}: all labels of {path} are "
            f"{shown(found)}, taken to stand for unknown ones."
        )
        return False
    if classes.size and len(unknown):
        raise ValueError(
            f"{path} has labels that {model} was not trained on: {shown(unknown)}. Those of the "
            f"file are {shown(found)}, of the model {shown(classes)}. Relabel the rows, or give "
            "all of them one label such as 0 if they are unknown."
        )
    return True


# ---- info ----


@command
def info(is_json: Json = False, debug: Debug = False):
    """Say what was built and what it found on this machine."""
    from fasthoag import _core
    from fasthoag.design.gpu import describe_device

    cupy_version, device = describe_device()
    facts = report.versions() | {
        "compiler": _core.compiler,
        "openmp": _core.has_openmp,
        "clones": _core.has_clones,
        "threads": _core.hardware_threads(),
        "cupy": cupy_version,
        "gpu": device,
    }
    if is_json:
        typer.echo(report.dump(facts))
        return
    print_table(
        (
            name,
            "not found"
            if value is None
            else str(value).lower()
            if isinstance(value, bool)
            else str(value),
        )
        for name, value in facts.items()
    )


# ---- demo ----


@command
def demo(
    data: option(
        DemoData, "--data", help="20newsgroups is fetched by scikit-learn from the network, once."
    ) = "digits",
    is_json: Json = False,
    threads: option(int, "--threads", min=1, help="One by default, as many as the grid has.") = 1,
    debug: Debug = False,
):
    """Tune on real data and compare with a grid of 10 strengths, on rows that neither has seen."""
    title, (X, y), (X_unseen, y_unseen) = load_demo(data.value)
    criterion = make_folds(5, "logistic", seed=0)
    if not is_json:
        typer.echo(
            f"{title}: {len(y)} rows to tune on (5 folds), {len(y_unseen)} rows that nobody sees\n"
        )
    began = time.perf_counter()
    problem = fasthoag.Problem(X, y)
    result, w = fit(problem, criterion, keeps_trace=False, n_threads=threads)
    seconds = time.perf_counter() - began
    z = make_model(problem, result, w, np.array([-1.0, 1.0])).decision_function(X_unseen)
    ours = {"C": float(1 / result.lam[0]), "seconds": seconds} | judge_unseen(z, y_unseen)
    if not is_json:
        print_table(map(report.trace_row, result.trace), report.TRACE_COLUMNS)
        typer.echo()
        print_table(report.summary(result, len(y)))
        typer.echo("\nThe same rows and folds with a grid:")
    grid = search_grid(X, y, criterion.cv, X_unseen, y_unseen)
    if is_json:
        settings = {
            "data": data.value,
            "cv": 5,
            "seed": 0,
            "threads": threads,
            "n_rows": X.shape[0],
            "n_features": X.shape[1],
        }
        typer.echo(
            report.dump(report.to_dict(result, len(y), settings) | {"unseen": ours, "grid": grid})
        )
    else:
        names = {
            "C": "C = 1/λ",
            "mean_loss": "loss per unseen row",
            "accuracy": "accuracy on unseen rows",
            "seconds": "seconds",
        }
        rows = [(text, f"{ours[name]:.5g}", f"{grid[name]:.5g}") for name, text in names.items()]
        print_table(rows, ("", "fasthoag", "10 points, scikit-learn"))
    return finish(result)


def load_demo(name):
    """What is asked of the data, (X, y) to tune on and (X, y) for the end."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    if name == "20newsgroups":
        return (
            "20 newsgroups, topic among the last ten",
            load_newsgroups("train"),
            load_newsgroups("test"),
        )
    if name == "digits":
        title, (X, target) = "Handwritten digits, 5 or more", datasets.load_digits(return_X_y=True)
        X, y = X / 16, np.where(target >= 5, 1.0, -1.0)
    else:
        title, (X, target) = "Breast cancer, benign", datasets.load_breast_cancer(return_X_y=True)
        y = 2.0 * target - 1
    X, X_unseen, y, y_unseen = train_test_split(X, y, test_size=1 / 3, stratify=y, random_state=0)
    if name == "breast_cancer":  # features from 1e-3 to 1e3
        center, scale = X.mean(axis=0), X.std(axis=0)
        X, X_unseen = (X - center) / scale, (X_unseen - center) / scale
    return title, (X, y), (X_unseen, y_unseen)


def load_newsgroups(subset):
    from sklearn import datasets

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its retry, which the sentence below says better
            X, target = datasets.fetch_20newsgroups_vectorized(
                subset=subset, return_X_y=True, n_retries=1
            )
    except OSError as error:  # URLError, timeouts and refused connections all are
        raise OSError(
            "20newsgroups must be fetched once from the network (14 MB), and that failed "
            f"({error}). Run this where there is a network, or copy the folder "
            f"{datasets.get_data_home()} from a machine that has it; --data digits needs neither."
        ) from None
    return X, np.where(target >= 10, 1.0, -1.0)


def judge_unseen(z, y):
    losses = derivative("logistic", 0, y, z)
    return {
        "n_rows": len(y),
        "mean_loss": float(losses.mean()),
        "accuracy": float(np.mean((z > 0) == (y > 0))),
    }


def search_grid(X, y, folds, X_unseen, y_unseen):
    """scikit-learn's grid of 10 strengths over the same folds, judged on the same rows."""
    from sklearn.linear_model import LogisticRegressionCV

    with warnings.catch_warnings():
        # defaults that change between versions of scikit-learn; none of them matters here
        warnings.simplefilter("ignore")
        began = time.perf_counter()
        grid = LogisticRegressionCV(Cs=10, cv=folds, scoring="neg_log_loss", max_iter=1000).fit(
            X, y
        )
        seconds = time.perf_counter() - began
    return {"C": float(np.ravel(grid.C_)[0]), "seconds": seconds} | judge_unseen(
        grid.decision_function(X_unseen), y_unseen
    )
