"""``fasthoag info``: what was built, and what this machine has."""

from dataclasses import dataclass

from fasthoag import _core, report
from fasthoag.cli.application import command
from fasthoag.cli.options import Debug, Json
from fasthoag.cli.terminal import print_table, show
from fasthoag.threads import n_threads_of


@dataclass(frozen=True)
class InfoOptions:
    is_json: Json = False
    debug: Debug = False


@command
def info(asked: InfoOptions):
    """Say what was built and what it found on this machine."""
    from fasthoag.design.gpu import describe_device

    cupy_version, device = describe_device()
    facts = report.versions() | {
        "compiler": _core.compiler,
        "openmp": _core.has_openmp,
        "clones": _core.has_clones,
        "threads": n_threads_of(None),
        "cupy": cupy_version,
        "gpu": device,
    }
    if asked.is_json:
        show(report.dump(facts))
    else:
        print_table((name, as_text(value)) for name, value in facts.items())


def as_text(value):
    if value is None:
        return "not found"
    return str(value).lower() if isinstance(value, bool) else str(value)
