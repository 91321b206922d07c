"""Model files: NumPy ``.npz`` archives without pickles."""

from dataclasses import fields
from io import BytesIO

import numpy as np

from fasthoag.io.inputs import existing_file, raise_unless_content
from fasthoag.io.model import Model
from fasthoag.io.replacement import replace_file
from fasthoag.types import Path

FORMAT, VERSION = "fasthoag-model", 2  # Version 1 had no zero_based.


def save_model(path: Path, model: Model, *, overwrite: bool = False) -> None:
    """Write a model file, which `load_model` reads: a NumPy ``.npz`` archive without pickles.

    The file appears under its name only when it is complete: after a full disk or a crash the old
    one is still there.

    Raises
    ------
    FileExistsError
        The file exists and `overwrite` is False.
    OSError
        Writing failed; names the path.

    Examples
    --------
    >>> import os, tempfile
    >>> from fasthoag.io import Model, load_model, save_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "ridge.model")
    ...     model = Model("squared", coef=[[2.0, 0.0]], intercept=[1.0], status="CONVERGED")
    ...     save_model(path, model)
    ...     model = load_model(path)
    >>> model.predict([[3.0, 5.0]]), model.status
    (array([7.]), 'CONVERGED')
    """
    content = BytesIO()
    arrays = {field.name: getattr(model, field.name) for field in fields(Model)}
    np.savez(content, format=FORMAT, version=VERSION, **arrays)
    replace_file(path, content.getbuffer(), overwrite)


def load_model(path: Path) -> Model:
    """The `Model` in a file that `save_model` wrote (see there for an example).

    Raises
    ------
    FileNotFoundError
    ValueError
        Not a model file, truncated or corrupt, or of a newer version.
    """
    path = existing_file(path, "a model file")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            if archive["format"] != FORMAT:
                raise ValueError("another format")
            # The version comes first: what a newer one holds may not be readable here.
            version = int(archive["version"])
            if version <= VERSION:
                content = {name: archive[name] for name in archive.files}
                del content["format"], content["version"]
                return Model(**{name: v if v.ndim else v.item() for name, v in content.items()})
    except Exception as error:
        raise_unless_content(error)
        raise ValueError(
            f"{path}: not a model file of fasthoag, or truncated or corrupt ({error})."
        ) from error
    raise ValueError(
        f"{path}: model file of version {version}; this fasthoag reads 1 to {VERSION}. "
        "Update fasthoag."
    )
