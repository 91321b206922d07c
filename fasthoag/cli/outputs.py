"""Output files: what is checked before the work, and how they are written after it."""

import os
import shutil
from pathlib import Path

from fasthoag.cli.terminal import show
from fasthoag.io import replacement
from fasthoag.io.npz import labels_path
from fasthoag.io.source import is_archive

STDOUT = Path("-")  # where text is written, in place of a file


def check_target(path, force, inputs=()):
    """Raises before any work when a file cannot be written later, or would replace one of the
    inputs, which are pairs (path, labels)."""
    if path is None or path == STDOUT:
        return
    if path.exists() and not path.is_file():
        # Writing replaces a file, and a device would become one.
        raise ValueError(f"{path} is not an ordinary file; give another name.")
    if path.exists() and any(
        other.exists() and path.samefile(other) for other in list_read(inputs)
    ):
        raise ValueError(f"{path} is one of the inputs; give another name.")
    if os.path.lexists(path) and not force:
        raise ValueError(f"{path} exists; --force replaces it.")
    folder = Path(os.path.realpath(path)).parent  # A link stays a link.
    if not folder.is_dir():
        raise ValueError(f"{path}: there is no folder {folder}; make it first.")
    try:
        replacement.check_writable(path)
    except OSError as error:
        raise ValueError(
            f"{path}: the folder {folder} cannot be written to ({error.strerror}); give another "
            "name."
        ) from None


def check_space(path, n_bytes):
    """Raises before any work when a file of this size does not fit beside the one that it replaces,
    as it must for a moment."""
    free = shutil.disk_usage(Path(os.path.realpath(path)).parent).free
    if free < n_bytes:
        raise ValueError(
            f"{path}: the model takes {n_bytes:,} bytes, and its disk has {free:,} left; make room "
            "or give another name."
        )


def list_read(inputs):
    """All files behind pairs (path, labels): the labels of a .npz are beside it by default."""
    for path, labels in inputs:
        if path is not None:
            yield path
            if labels is not None or path.suffix.lower() == ".npz" or is_archive(path):
                yield labels or Path(labels_path(path))


def write(path, text, force):
    """Puts the text under `path` at once, as model files are: never a part of it; or on stdout."""
    # Names of files, which a report holds, may be bytes of any encoding.
    content = text.encode(errors="replace")
    if path == STDOUT:
        show(content, ends_line=False)
    else:
        replacement.replace_file(path, content, force)
