"""Files that replace others: their permissions, and what is left of runs that were killed."""

import os
import signal
import stat
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from fasthoag.io import Model, load_model, replacement, save_liblinear, save_model

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and owners are of POSIX")
MODEL = Model("squared", coef=[[1.0, 1 / 3, -2.0]], intercept=[0.1])
IS_ROOT = os.geteuid() == 0


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.model"


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("save", [save_model, save_liblinear])
@pytest.mark.parametrize("through", ["name", "link"])
@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444, 0o640])
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_replaced_file_keeps_its_mode(path, umask, save, through, mode, mask):
    path.write_text("old")
    path.chmod(mode)
    umask(mask)
    link = path.with_name("link")
    link.symlink_to(path)
    save(path if through == "name" else link, MODEL, overwrite=True)
    assert path.read_bytes() != b"old"
    assert mode_of(path) == mode
    assert link.is_symlink()


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_new_file_has_the_mode_that_the_umask_says(path, umask, mask):
    umask(mask)
    save_model(path, MODEL)
    assert mode_of(path) == 0o666 & ~mask


def test_file_is_never_open_to_more_than_the_one_that_it_replaces(path, umask, monkeypatch):
    path.write_text("old")
    path.chmod(0o600)
    umask(0)
    modes = []

    def note(_):
        modes.extend(mode_of(path.with_name(name)) for name in os.listdir(path.parent))

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(replacement, "_take_permissions", lambda *_: note(None))
    save_model(path, MODEL, overwrite=True)
    assert modes == [0o600] * 4


@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
def test_replaced_file_keeps_owner_and_group(path):
    path.write_text("old")
    os.chown(path, 1234, 4321)
    save_model(path, MODEL, overwrite=True)
    found = path.stat()
    assert (found.st_uid, found.st_gid) == (1234, 4321)


def test_another_group_gets_no_more_than_all_others(path, monkeypatch):
    path.write_text("old")
    path.chmod(0o664)
    real = os.stat

    def of_another_group(where, **options):
        found = real(where, **options)
        if os.fspath(where) != os.fspath(path):
            return found
        numbers = {name: getattr(found, name) for name in dir(found) if name.startswith("st_")}
        return SimpleNamespace(**(numbers | {"st_gid": found.st_gid + 1}))

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "stat", of_another_group)
    monkeypatch.setattr(os, "chown", refuse)
    save_model(path, MODEL, overwrite=True)
    monkeypatch.undo()
    assert mode_of(path) == 0o644


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="extended attributes are of Linux")
def test_replaced_file_keeps_its_extended_attributes_and_has_a_new_time(path):
    path.write_text("old")
    try:
        os.setxattr(path, "user.origin", b"here")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    os.utime(path, (1, 1))
    save_model(path, MODEL, overwrite=True)
    assert os.getxattr(path, "user.origin") == b"here"
    assert path.stat().st_mtime > 1e9


# ---- runs that were killed ----

# Writes a model and is killed, or waits, before it has its name.
CUT_OFF = """
import os, signal, sys, time
from fasthoag.io import Model, save_model
def stop(*_):
    print(os.listdir(sys.argv[2]), flush=True)
    if sys.argv[3] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
os.replace, replace = lambda *names: (stop(), replace(*names)), os.replace
save_model(sys.argv[1], Model("squared", [[1.0]], [0.0]), overwrite=True)
"""


def start_run(path, how):
    return subprocess.Popen(
        [sys.executable, "-c", CUT_OFF, path, path.parent, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def temporary_files(path):
    return [name for name in os.listdir(path.parent) if name.endswith(".tmp")]


def test_what_a_killed_run_left_is_removed_by_the_next_one(path):
    with start_run(path, "killed") as run:
        assert run.wait(60) == -signal.SIGKILL
    (left,) = temporary_files(path)
    save_model(path.with_name("other.model"), MODEL)
    assert temporary_files(path) == [left]  # It is none of its own.
    replacement.check_writable(path)
    assert temporary_files(path) == []


def test_what_a_run_is_writing_is_left_alone(path):
    with start_run(path, "waits") as run:
        run.stdout.readline()
        (left,) = temporary_files(path)
        save_model(path, MODEL)
        assert temporary_files(path) == [left]
        assert load_model(path).coef.shape == (1, 3)
        run.stdin.close()
        assert run.wait(60) == 0
    assert temporary_files(path) == []
    assert load_model(path).coef.shape == (1, 1)


@pytest.mark.parametrize("name", ["pipe", "link", "folder"])
def test_what_others_put_under_such_a_name_neither_stalls_nor_leads_elsewhere(path, name):
    with replacement.temporary_file(os.path.realpath(path)) as file:
        odd = file.name
    precious = path.with_name("precious")
    precious.write_text("precious")
    {
        "pipe": os.mkfifo,
        "link": lambda odd: os.symlink(precious, odd),
        "folder": os.mkdir,
    }[name](odd)
    before = time.monotonic()
    save_model(path, MODEL)
    assert time.monotonic() - before < 5
    assert load_model(path).loss == "squared"
    assert precious.read_text() == "precious"


# ---- full disks ----

LIMITED = """
import resource, sys
from fasthoag.io import Model, save_model
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    save_model(sys.argv[1], Model("squared", [[1.0] * 1000], [0.0]), overwrite=True)
except OSError as error:
    print(error)
"""


def test_file_that_may_not_grow_leaves_the_old_one(path):
    path.write_text("old")
    found = subprocess.run(
        [sys.executable, "-c", LIMITED, path], capture_output=True, text=True, check=True
    )
    assert "cannot write: File too large; the old file, if any, is untouched" in found.stdout
    assert os.listdir(path.parent) == ["a.model"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("kind", ["a device", "a link to a device", "a folder", "a pipe"])
def test_what_is_no_ordinary_file_is_not_replaced(tmp_path, kind):
    """As root a rename would put a file in the place of the device, for everybody."""
    path = tmp_path / "target"
    if kind == "a device":
        try:
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        except (PermissionError, AttributeError):
            pytest.skip("only root makes devices")
    elif kind == "a link to a device":
        path.symlink_to(os.devnull)
    elif kind == "a folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    before = os.stat(path).st_mode
    for write in (replacement.replace_file, lambda path, *_: replacement.check_writable(path)):
        with pytest.raises(OSError, match="not an ordinary file"):
            write(path, b"content", True)
    assert os.stat(path).st_mode == before
    assert os.listdir(tmp_path) == ["target"]
