"""The command ``fasthoag``, as a console script and as ``python -m fasthoag``: how the program is
ended from outside.

Ctrl-C ends it with one line and exit code 130, SIGTERM with 143, and a reader of its output that
goes away (``| head``) in silence with 141, as programs end that do not catch that signal. Nothing
but what listens to signals is imported before, as the rest takes a second. While nothing has to be
cleaned up the program ends at once; a command is ended by an exception, so that files that it was
writing are removed."""

import atexit
import os
import signal
import sys

WORDS = {signal.SIGINT: "interrupted.", signal.SIGTERM: "terminated."}
READER_GONE = 128 + 13  # SIGPIPE, which some systems do not have


class Stopped(SystemExit):
    """What a signal raises within a command. Its code is 128 and the number of the signal."""


def main():
    listen(end_at_once)
    # Called last: what can be lost then is nothing, and Python forgets its handlers.
    atexit.register(listen, signal.SIG_IGN)
    sys.exit(code_of_program())


def code_of_program():
    from fasthoag.cli import main as run

    try:
        try:
            sys.unraisablehook = raise_again
            listen(raise_stopped)
            run()
        finally:
            listen(end_at_once)
    except Stopped as stopped:
        flush()
        say(WORDS[stopped.code - 128])
        return stopped.code
    except SystemExit as end:
        # Where typer finds that the reader is gone it exits in its own way.
        if isinstance(end.__context__, BrokenPipeError):
            forget_output()
            return READER_GONE
        return flush() or end.code


def listen(handler):
    """Handles the signals that end the program, but for those that it was started to ignore
    (nohup)."""
    for number in WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def end_at_once(number, _):
    say(WORDS[number])
    os._exit(128 + number)


def raise_stopped(number, _):
    listen(end_at_once)  # Who insists does not wait until everything is cleaned up.
    raise Stopped(128 + number)


def raise_again(unraisable):
    """Where Python only prints exceptions, as in finalisers and callbacks of C, that of a signal
    would be lost: it is raised once more, soon after."""
    error = unraisable.exc_value
    if isinstance(error, Stopped):
        listen(raise_stopped)
        number = error.code - 128
    elif isinstance(error, KeyboardInterrupt) and error.args:  # See fasthoag.cli.interruption.
        (number,) = error.args
    else:
        sys.__unraisablehook__(unraisable)
        return
    from threading import Timer

    Timer(0.01, os.kill, [os.getpid(), number]).start()


def flush():
    """Writes what is still in the buffer of stdout; returns an exit code, 0 where that works."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        forget_output()
        if isinstance(error, BrokenPipeError):
            return READER_GONE
        say(f"stdout: {error.strerror}")
        return 1
    return 0


def forget_output():
    """Sends stdout nowhere, so that Python does not try to write to it again when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def say(words):
    """One line on stderr, not through its buffer, which a signal may have found at work."""
    try:
        os.write(2, f"fasthoag: {words}\n".encode())
    except OSError:
        return  # Nobody reads it.


if __name__ == "__main__":
    main()
