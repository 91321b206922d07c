"""The pages of the examples: what each says of itself, its picture and its code."""

import ast
from pathlib import Path

from reference import headed

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def example(path: Path) -> tuple[str, str]:
    """(title, text) of a page: the docstring begins with ``Title: sentence``, or a title alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    about = ast.get_docstring(tree)
    if about is None:
        raise ValueError(
            f"examples/{path.name} has no docstring; begin it with a title and a colon"
        )
    after = tree.body[1].lineno
    first, _, rest = about.partition("\n\n")
    title, _, sentence = " ".join(first.split()).partition(": ")
    picture = EXAMPLES / "figures" / f"{path.stem}.png"
    parts = [sentence[:1].upper() + sentence[1:], rest]
    if picture.exists():
        parts.append(f".. image:: ../../examples/figures/{picture.name}\n   :alt: {title}")
    parts.append(f"``examples/{path.name}``:")
    code = f".. literalinclude:: ../../examples/{path.name}\n   :language: python"
    parts.append(f"{code}\n   :lines: {after}-")
    return title.rstrip("."), "\n\n".join(part for part in parts if part)


def pages() -> dict[str, str]:
    """The text of every page by its name."""
    return {f"{path.stem}.rst": headed(*example(path)) for path in sorted(EXAMPLES.glob("*.py"))}
