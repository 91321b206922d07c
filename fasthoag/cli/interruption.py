"""How a search that is ended by Ctrl-C or SIGTERM leaves the best model so far."""

import signal
from contextlib import contextmanager

from fasthoag.outer.record import Interrupted


@contextmanager
def leaving(save):
    """Within it signals that end the program raise KeyboardInterrupt, so that `hoag` says what it
    has: ``save(result)`` is called with that, if there is any. After it the signal does what it
    does elsewhere; a second one does so at once."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    caught = []

    def interrupt(number, _):
        caught.append(number)
        raise KeyboardInterrupt(number)

    try:
        for number in handlers:
            signal.signal(number, interrupt)
        yield
    except KeyboardInterrupt as interrupted:
        restore(handlers)
        if isinstance(interrupted, Interrupted) and interrupted.result is not None:
            save(interrupted.result)
        for number in caught[:1]:
            signal.raise_signal(number)
        raise
    finally:
        restore(handlers)


def restore(handlers):
    for number, handler in handlers.items():
        signal.signal(number, handler)
