"""The page of the options of every command, as ``--help`` says them. ``page()`` is its text."""

from textwrap import indent

from reference import headed
from typer.testing import CliRunner

from fasthoag.cli import app


def section(command: str) -> str:
    name = f"fasthoag {command}".strip()
    said = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "84"})
    if said.exit_code:
        raise RuntimeError(f"{name} --help ended with {said.exit_code}: {said.output}")
    text = "\n".join(line.rstrip() for line in said.output.splitlines()).strip()
    return f"{name}\n{'-' * len(name)}\n\n.. code-block:: text\n\n{indent(text, '   ')}\n"


def page() -> str:
    commands = [one.name or one.callback.__name__ for one in app.registered_commands]
    return headed("Options of the commands", "\n".join(map(section, ("", *commands))))
