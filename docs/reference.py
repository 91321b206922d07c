"""The pages of the API reference: what is public is asked of the package, and nothing is listed
here but titles. `pages` has one for every name and one for each area."""

import inspect
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

import fasthoag

# Which parts of the package a page is about; a part that is in none gets a page of its own.
AREAS = {
    "Problem and search": ("problem", "hoag", "outer", "curve", "shared_rows"),
    "Estimators": ("estimators",),
    "Criteria": ("criteria",),
    "Penalties": ("penalties",),
    "Losses": ("losses", "custom_loss"),
    "Tuned beside the penalty": ("tuned",),
    "Kernels": ("kernels",),
    "Pictures": ("plots",),
    "Files and data sets": ("io", "datasets"),
    "Designs: where X lives": ("design",),
}
APART = {"cli", "types"}  # a program, and names for type checkers


def public_names() -> dict[str, object]:
    """Every public object by the shortest name it can be imported by."""
    found = {f"fasthoag.{name}": getattr(fasthoag, name) for name in fasthoag.__all__}
    parts = {one.name for one in iter_modules(fasthoag.__path__)} - APART
    for part in sorted(part for part in parts if not part.startswith("_")):
        module = import_module(f"fasthoag.{part}")
        names = [name for name in getattr(module, "__all__", ()) if name not in fasthoag.__all__]
        found |= {f"fasthoag.{part}.{name}": getattr(module, name) for name in names}
    return found


def areas() -> dict[str, list[str]]:
    """The public names of each area, those of the top of the package first."""
    found: dict[str, list[str]] = {title: [] for title in AREAS}
    for name, one in sorted(public_names().items(), key=lambda item: item[0].count(".")):
        inside = name.split(".")[1:-1]
        part = inside[0] if inside else one.__module__.split(".")[1]  # type: ignore[attr-defined]
        other = part.replace("_", " ").capitalize()
        title = next((title for title, parts in AREAS.items() if part in parts), other)
        found.setdefault(title, []).append(name)
    return {title: names for title, names in found.items() if names}


def directive(name: str, one: object) -> str:
    """What documents an object on its page."""
    if isinstance(one, type):
        kind = "exception" if issubclass(one, BaseException) else "class"
        return f".. auto{kind}:: {name}\n   :members:\n   :inherited-members:\n"
    if inspect.isfunction(one):
        return f".. autofunction:: {name}\n"
    text = f".. autodata:: {name}\n   :no-value:\n"
    if isinstance(one, dict | tuple):
        text += "\n   Holds " + ", ".join(f"``{key}``" for key in one) + ".\n"
    return text


def headed(title: str, text: str) -> str:
    return f"{title}\n{'=' * len(title)}\n\n{text}"


def page_of(title: str) -> str:
    """The file of an area, without its ending."""
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())


def pages() -> dict[str, str]:
    """The text of every page by its path."""
    objects, found = public_names(), {}
    for title, names in areas().items():
        table = "\n".join(f"   ~{name}" for name in names)
        links = "\n".join(f"   {name}" for name in names)
        found[f"{page_of(title)}.rst"] = headed(
            title,
            f".. autosummary::\n\n{table}\n\n.. toctree::\n   :hidden:\n\n{links}\n",
        )
    for name, one in objects.items():
        found[f"{name}.rst"] = headed(name.rpartition(".")[2], directive(name, one))
    links = "\n".join(f"   {page_of(title)}" for title in areas())
    tree = f".. toctree::\n   :maxdepth: 2\n   :includehidden:\n\n{links}\n"
    text = f"Every public name, from its docstring.\n\n{tree}"
    found["index.rst"] = headed("API reference", text)
    return found


def write(folder: Path, wanted: dict[str, str]) -> None:
    """The pages as files; other pages of the folder go."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.rst"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        write_changed(folder / name, text)


def write_changed(path: Path, text: str) -> None:
    """A file that is as it should be stays untouched, so that its page is not built again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def is_of_others(one: object) -> bool:
    """Whether a member of a class is scikit-learn's or Python's, whose pages describe it."""
    one = one.fget if isinstance(one, property) else inspect.unwrap(getattr(one, "__func__", one))
    module: str | ModuleType | None = getattr(one, "__module__", None)
    return isinstance(module, str) and not module.startswith("fasthoag")
