"""Build of the one extension module, fasthoag._core. Metadata is in pyproject.toml."""

import glob
import os
import subprocess
import sys
import tempfile

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup
from setuptools.command.build_py import build_py

ParallelCompile("FASTHOAG_BUILD_JOBS", default=2).install()


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


def links(compile_flags, link_flags):
    """Whether a program that uses OpenMP compiles and links with these flags."""
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "probe.cpp")
        with open(source, "w") as f:
            f.write("#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }\n")
        command = [
            os.environ.get("CXX", "c++"),
            *compile_flags,
            source,
            *link_flags,
            "-o",
            os.path.join(folder, "probe"),
        ]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


compile_args = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
link_args = []
if not os.environ.get("FASTHOAG_NO_OPENMP"):
    openmp = ["-Xpreprocessor", "-fopenmp"] if sys.platform == "darwin" else ["-fopenmp"]
    openmp_link = ["-lomp"] if sys.platform == "darwin" else ["-fopenmp"]
    if links(openmp, openmp_link):
        compile_args += openmp
        link_args += openmp_link
    else:
        print("warning: no OpenMP found; fasthoag will run on one thread", file=sys.stderr)
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
    cmdclass={"build_ext": build_ext, "build_py": BuildWithCuda},
)
