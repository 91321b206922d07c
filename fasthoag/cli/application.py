"""The program around the commands: how it starts, and how each of them ends."""

import re
import signal
import sys
import warnings
from enum import Enum
from functools import cache, wraps
from inspect import signature
from typing import Annotated, get_type_hints

import typer

import fasthoag
from fasthoag.cli.terminal import open_closed_streams, say, show

NOT_CONVERGED, INTERRUPTED = 3, 130

app = typer.Typer(
    name="fasthoag",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Tune the penalty of large sparse linear models by gradient.",
    epilog="Exit codes: 0 converged, 1 error, 2 wrong usage, 3 not converged or at a bound, 130 "
    "interrupted, 141 the reader of the output went away, 143 terminated.",
)


def show_version(is_asked: bool):
    if is_asked:
        show(f"fasthoag {fasthoag.__version__}")
        raise typer.Exit


@app.callback()
def before_commands(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=show_version, help="Show the version."),
    ] = False,
):
    """What the program takes before the name of a command."""


def main():
    open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # A terminal without λ shows ? instead of failing at the end of a long run.
        stream.reconfigure(errors="replace")
    try:
        app(prog_name="fasthoag")
    except BrokenPipeError:  # Who ends the program knows it by this one.
        raise SystemExit(1)  # noqa: B904
    except OSError as error:  # The help and the version are written outside of commands.
        say(describe(error))
        raise SystemExit(1) from None


def command(function):
    """The function of one record, which returns an exit code or None, as a command for typer.

    The fields of the record are the options of the command; a choice among words becomes the word.
    An error becomes one sentence on stderr and an exit code."""
    (Options,) = get_type_hints(function).values()

    @wraps(function)
    def run(**options):
        asked = Options(
            **{name: v.value if isinstance(v, Enum) else v for name, v in options.items()}
        )
        with warnings.catch_warnings():
            # The exit code says this, and a sentence of our own.
            warnings.simplefilter("ignore", fasthoag.ConvergenceWarning)
            # One sentence, also where reading, searching and fitting ask for the same: Python's own
            # "once" forgets what it showed whenever anybody changes a filter.
            say_once = cache(say)
            warnings.showwarning = lambda message, *_: say_once(f"warning: {option_of(message)}")
            try:
                code = function(asked)
            except KeyboardInterrupt:
                say("interrupted.")
                code = INTERRUPTED
            except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
                raise
            except Exception as error:
                end_where_asked(error)
                if asked.debug:
                    raise
                say(describe(error))
                code = 1
        raise typer.Exit(code or 0)

    # This is where typer looks for options.
    run.__signature__ = signature(Options)
    run.__annotations__ = get_type_hints(Options, include_extras=True)
    return run


def end_where_asked(error):
    """Ends the program where a signal asked for that and a library put an error of its own in the
    place of what the signal raised, as a module of C does that is being loaded."""
    while isinstance(error, Exception):
        error = error.__cause__ or error.__context__
    if isinstance(error, KeyboardInterrupt) and error.args:  # See fasthoag.cli.interruption.
        (number,) = error.args
        signal.raise_signal(number)
    if error is not None:
        raise error


def noted():
    """A list that gets the text of every warning of this command from here on."""
    texts, show_before = [], warnings.showwarning

    def show_and_note(message, *where):
        if option_of(message) not in texts:
            texts.append(option_of(message))
        show_before(message, *where)

    warnings.showwarning = show_and_note  # until the end of the command, see there
    return texts


def option_of(message):
    """A warning with the name of the option in place of the argument that it becomes."""
    return re.sub("^n_threads=", "--threads ", str(message))


def describe(error):
    """An exception as a sentence for someone who does not read Python."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return str(error) or "out of memory; --float32 and --low-memory need less."
    if isinstance(error, (ValueError, OSError, ImportError)):
        return " ".join(str(error).split())
    return (
        f"internal error, {type(error).__name__}: {error}. Please report it with what --debug "
        "prints."
    )


def exit_code(result):
    """The exit code of a search, with a sentence where it is not 0."""
    if result.status == "converged":
        return 0
    if result.status in ("searched", "stopped_early"):  # all that was asked for
        say(result.message)
        return 0
    say(f"{result.status}: {result.message}")
    return NOT_CONVERGED
