"""The CUDA sources: where they are, how they become one text, and what each kernel takes. Nothing
here needs a GPU or CuPy."""

import pathlib
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fasthoag.custom_loss import ROLES

PACKAGE = pathlib.Path(__file__).resolve().parents[2]
# an installed package has copies of the sources (setup.py), a checkout reads them where they are
FOLDERS = (
    (PACKAGE / "cuda",)
    if (PACKAGE / "cuda").is_dir()
    else (PACKAGE.parent / "csrc" / "cuda", PACKAGE.parent / "csrc")
)
TYPES = {
    "double": np.float64,
    "float": np.float32,
    "int": np.int32,
    "i64": np.int64,
    "unsigned char": np.uint8,
}
CUSTOM = "// custom loss\n"
NULL = np.uint64(0)


def source(name, defines=(), custom=None):
    """The text of a .cu file with its own headers and these (name, value) definitions put in;
    `custom` are the four CUDA expressions of a loss.

    Headers are put in here and not by the compiler, so that the text, by which compilers find what
    they have compiled before, changes with them.
    """
    text = re.sub(r'^#include "(.+)"\n', lambda found: read(found[1]), read(name), flags=re.M)
    if custom is not None:
        text = text.replace(CUSTOM, custom_loss(custom))
    return "".join(f"#define {key} {value}\n" for key, value in defines) + text


def read(name):
    """The text of a source or of one of its headers, which comes once and needs no guard."""
    path = next(folder / name for folder in FOLDERS if (folder / name).exists())
    return path.read_text().replace("#pragma once\n", "")


def custom_loss(expressions):
    """The struct of a loss from the CUDA expressions of its value and three derivatives."""
    functions = "".join(
        f"    static FH_FN double {role}(double y, double z, const double*) "
        f"{{ return ({text}); }}\n"
        for role, text in zip(ROLES, expressions, strict=True)
    )
    return f"struct Loss_custom : fh::Apart<Loss_custom> {{\n{functions}}};\n"


class Parameter(NamedTuple):
    """What a kernel declares: numbers and arrays have the NumPy type `kind`."""

    name: str
    kind: Any
    is_pointer: bool

    def argument(self, value, kernel):
        """`value` as this parameter takes it; None is a null pointer."""
        if not self.is_pointer:
            return self.kind(value)
        if value is None:
            return NULL
        if value.dtype != self.kind or not value.flags.c_contiguous:
            raise TypeError(
                f"kernel {kernel} takes a contiguous array of {np.dtype(self.kind).name} as "
                f"{self.name}; got {value.dtype.name}, strides {value.strides}"
            )
        return value


@dataclass(frozen=True)
class Kernel:
    """A kernel of a source."""

    name: str
    parameters: tuple

    def arguments(self, values):
        """`values` as NumPy numbers and arrays of the very types that the kernel declares. The GPU
        would read others as if they were of these types."""
        if len(values) != len(self.parameters):
            raise TypeError(
                f"kernel {self.name} takes {len(self.parameters)} arguments; got {len(values)}"
            )
        both = zip(self.parameters, values, strict=True)
        return tuple([parameter.argument(value, self.name) for parameter, value in both])


def kernels(text):
    """The kernels that a source defines, by name."""
    text = text.replace("\\\n", "")
    macros = dict(re.findall(r"#define (\w+) +(.+)", text))
    types = TYPES | {
        name: TYPES[macros[macro]]
        for macro, name in re.findall(r"typedef (FH_\w+) (\w+);", text)
        if macros.get(macro) in TYPES
    }
    found = re.findall(
        r'extern "C" __global__ void (?:__launch_bounds__\(.*?\)\s+)?(\w+)\(([^)]*)\)', text
    )
    return {
        name: Kernel(name, tuple(parameter(p, types) for p in expand(listed, macros).split(",")))
        for name, listed in found
    }


def expand(listed, macros):
    """A list of parameters with macros such as FH_EPILOGUE replaced by what they stand for."""
    return ", ".join(macros.get(part.strip(), part) for part in listed.split(","))


def parameter(text, types):
    """The `Parameter` that reads ``const double* name`` or alike in the source."""
    words = text.replace("const ", "").replace("*", " ").split()
    return Parameter(words[-1], types[" ".join(words[:-1])], "*" in text)
