"""What the build from sources says where something is missing."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run_python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment,
    )


def last_words(folder, before="", **environment):
    """The last four lines of a build that fails, where Python has run `before`."""
    arguments = ["setup.py", "-q", "build_ext", "--build-temp", str(folder), "-b", str(folder)]
    code = f"import runpy, sys; sys.argv = {arguments!r}\n{before}\nrunpy.run_path('setup.py')"
    done = run_python("-c", code, **environment)
    assert done.returncode == 1
    return done.stderr.splitlines()[-4:]


def assert_says(lines, what):
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    assert lines[0].startswith(f"error: {what.format(python)} missing. ")
    assert [line.split() for line in lines[1:]] == [
        ["Debian,", "Ubuntu", "apt", "install", "g++", f"{python}-dev"],
        ["Fedora", "dnf", "install", "gcc-c++", f"{python}-devel"],
        ["macOS", "xcode-select", "--install", "&&", "brew", "install", "libomp"],
    ]


def test_a_build_without_a_compiler_ends_with_what_to_install(tmp_path):
    absent = str(tmp_path / "absent")
    assert_says(last_words(tmp_path, CC=absent, CXX=absent), "a C++17 compiler is")


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "c++")) is None, reason="no C++ compiler")
def test_a_build_without_headers_of_python_ends_with_what_to_install(tmp_path):
    before = (
        "from setuptools._distutils import sysconfig\n"
        f"sysconfig.get_python_inc = lambda *args, **options: {str(tmp_path)!r}"
    )
    assert_says(last_words(tmp_path, before), "the C headers of {} are")


def test_the_readme_of_a_release_names_files_by_whole_addresses():
    """It is shown where no file is beside it."""
    text = run_python("setup.py", "-q", "--long-description", PYTHONUTF8="1").stdout
    links = re.findall(r"\]\(([^)]*)\)", text)
    files = [link.split("/main/")[1].split("#")[0] for link in links if "/main/" in link]
    assert len(files) > 3
    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert len(re.findall(r"!\[[^\]]*\]\(https://[^)]*/raw/main/", text)) == text.count("![") > 0
