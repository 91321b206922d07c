"""The command ``fasthoag``: tune, predict, info and demo. It needs the extra ``fasthoag[cli]``.

Exit codes: 0 converged; 1 an error, one sentence on stderr; 2 wrong usage; 3 a result that did not
converge or lies at a bound (it is printed and written all the same); 130 interrupted; 141 the
reader of stdout went away; 143 terminated. Results go to stdout, everything else to stderr. A
result that cannot be written is printed, as the search may have taken hours.

A command is a function of one record: its options are the fields of the record."""

try:
    import rich  # noqa: F401  (typer alone would draw no tables)
    import typer  # noqa: F401
except ImportError:
    raise SystemExit('The command line needs typer and rich: pip install "fasthoag[cli]"') from None

from fasthoag.cli import demo, info, predict, tune
from fasthoag.cli.application import app, main

__all__ = ["app", "main"]

# The help lists them in this order.
for one in (tune.tune, predict.predict, info.info, demo.demo):
    app.command()(one)
