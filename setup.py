"""Build of the one extension module, fasthoag._core. Metadata is in pyproject.toml."""

import glob
import os
import re
import sys
import tempfile
import tomllib

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError, LinkError

ParallelCompile("FASTHOAG_BUILD_JOBS", default=2).install()

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
MISSING = """\
{missing}. fasthoag is compiled here; install this and try again:
    Debian, Ubuntu   apt install g++ {python}-dev
    Fedora           dnf install gcc-c++ {python}-devel
    macOS            xcode-select --install && brew install libomp"""
USES_OPENMP = "#include <omp.h>\nint n_threads() { return omp_get_max_threads(); }\n"
# On macOS the library is that of CPPFLAGS and LDFLAGS, else Homebrew's.
ON_MACOS = ("", "/opt/homebrew/opt/libomp", "/usr/local/opt/libomp")


class BuildWithCuda(build_py):
    """The CUDA sources go into the package, where they are read at run time; a checkout reads them
    where they are."""

    def run(self):
        super().run()
        if not self.editable_mode:
            target = os.path.join(self.build_lib, "fasthoag", "cuda")
            self.mkpath(target)
            for source in ("csrc/losses.hpp", *sorted(glob.glob("csrc/cuda/*"))):
                self.copy_file(source, target)


class BuildKernels(build_ext):
    """Asks the compiler what it can do first, so that where something is missing the last words are
    what to install."""

    def build_extensions(self):
        if not self.builds("int one() { return 1; }\n"):
            raise CompileError(missing("a C++17 compiler is missing"))
        if not self.builds("#include <Python.h>\n"):
            raise CompileError(missing(f"the C headers of {PYTHON} are missing"))
        if not os.environ.get("FASTHOAG_NO_OPENMP"):
            self.add_openmp()
        super().build_extensions()

    def add_openmp(self):
        for compile_flags, link_flags in openmp_flags(sys.platform):
            if self.builds(USES_OPENMP, compile_flags, link_flags):
                for extension in self.extensions:
                    extension.extra_compile_args += compile_flags
                    extension.extra_link_args += link_flags
                return
        print("warning: no OpenMP found; fasthoag will run on one thread", file=sys.stderr)

    def builds(self, text, compile_flags=(), link_flags=None):
        """Whether this text compiles and, with `link_flags`, links."""
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "probe.cpp")
            with open(source, "w") as f:
                f.write(text)
            try:
                made = self.compiler.compile(
                    [source], output_dir=folder, extra_postargs=["-std=c++17", *compile_flags]
                )
                if link_flags is not None:  # as an extension, to which alone LDFLAGS goes
                    self.compiler.link_shared_object(
                        made, "probe.so", folder, extra_postargs=link_flags, target_lang="c++"
                    )
            except (CompileError, LinkError):
                return False
            return True


def readme():
    """README.md as PyPI shows it, with whole addresses where it names files beside it."""
    with open("pyproject.toml", "rb") as f:
        home = tomllib.load(f)["project"]["urls"]["Source"]
    with open("README.md", encoding="utf-8") as f:
        text = f.read()
    beside = r"\]\((?!https?:|#)"
    text = re.sub(rf"(!\[[^\]]*){beside}", rf"\1]({home}/raw/main/", text)
    return re.sub(beside, f"]({home}/blob/main/", text)


def missing(what):
    return MISSING.format(missing=what, python=PYTHON)


def openmp_flags(platform):
    """Flags to compile and to link with OpenMP, in the order in which they are tried."""
    if platform != "darwin":
        return [(["-fopenmp"], ["-fopenmp"])]
    return [
        (
            ["-Xpreprocessor", "-fopenmp", *([f"-I{prefix}/include"] if prefix else [])],
            [*([f"-L{prefix}/lib"] if prefix else []), "-lomp"],
        )
        for prefix in ON_MACOS
    ]


if sys.platform == "win32":
    sys.exit("fasthoag is not built on Windows yet; install it in WSL (wsl --install)")
compile_args = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
link_args = []
if os.environ.get("FASTHOAG_NATIVE"):
    compile_args.append("-march=native")
options = {}
if sanitizers := os.environ.get("FASTHOAG_SANITIZE"):  # what -fsanitize= takes
    sanitizers = "address,undefined" if sanitizers == "1" else sanitizers
    compile_args += [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-g", "-O1"]
    link_args += [f"-fsanitize={sanitizers}"]
    # A folder of its own: setuptools would take the objects of another build for these.
    options["build"] = {"build_base": os.path.join("build", sanitizers.replace(",", "-"))}

setup(
    options=options,
    long_description=readme(),
    long_description_content_type="text/markdown",
    ext_modules=[
        Pybind11Extension(
            "fasthoag._core",
            sorted(glob.glob("csrc/bind/*.cpp")),
            include_dirs=["csrc"],
            cxx_std=17,
            depends=sorted(glob.glob("csrc/**/*.hpp", recursive=True)),
            extra_compile_args=compile_args,
            extra_link_args=link_args,
        )
    ],
    cmdclass={"build_ext": BuildKernels, "build_py": BuildWithCuda},
)
