"""The CUDA sources: where they are, how they become one text, and what each kernel takes. Nothing
here needs a GPU or CuPy."""

import pathlib
import re
from dataclasses import dataclass

import numpy as np

HERE = pathlib.Path(__file__).resolve().parents[1]
# installed, or a checkout
FOLDERS = (
    (HERE / "cuda",)
    if (HERE / "cuda").is_dir()
    else (HERE.parent / "csrc" / "cuda", HERE.parent / "csrc")
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

    One text, so that a change of a header is a change of what compilers cache.
    """
    text = re.sub(r'^#include "(.+)"\n', lambda found: _read(found[1]), _read(name), flags=re.M)
    if custom is not None:
        text = text.replace(CUSTOM, _custom_loss(custom))
    return "".join(f"#define {key} {value}\n" for key, value in defines) + text


def _read(name):
    path = next(folder / name for folder in FOLDERS if (folder / name).exists())
    return path.read_text().replace("#pragma once\n", "")


def _custom_loss(expressions):
    functions = "".join(
        f"    static FH_FN double {role}(double y, double z, const double*) "
        f"{{ return ({text}); }}\n"
        for role, text in zip(("value", "d1", "d2", "d3"), expressions, strict=False)
    )
    return f"struct Loss_custom : fh::Apart<Loss_custom> {{\n{functions}}};\n"


@dataclass(frozen=True)
class Kernel:
    """A kernel of a source: its name, and for every parameter its type and whether it is a
    pointer."""

    name: str
    parameters: tuple

    def arguments(self, values):
        """`values` as NumPy numbers and arrays of the very types that the kernel declares; None is
        a null pointer."""
        if len(values) != len(self.parameters):
            raise TypeError(
                f"kernel {self.name} takes {len(self.parameters)} arguments; got {len(values)}"
            )
        return tuple(
            [
                self._array(parameter, value) if parameter[2] else parameter[1](value)
                for parameter, value in zip(self.parameters, values, strict=False)
            ]
        )

    def _array(self, parameter, value):
        if value is None:
            return NULL
        name, kind, _ = parameter
        if value.dtype != kind or not value.flags.c_contiguous:
            raise TypeError(
                f"kernel {self.name} takes a contiguous array of {np.dtype(kind).name} as {name}; "
                f"got {value.dtype.name}, strides {value.strides}"
            )
        return value


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
        name: Kernel(name, tuple(_parameter(p, types) for p in _expand(listed, macros).split(",")))
        for name, listed in found
    }


def _expand(listed, macros):
    return ", ".join(macros.get(part.strip(), part) for part in listed.split(","))


def _parameter(text, types):
    words = text.replace("const ", "").replace("*", " ").split()
    return words[-1], types[" ".join(words[:-1])], "*" in text
