"""Output files that appear under their name only when they are complete."""

import errno
import glob
import hashlib
import os
import secrets
import shutil
import stat
from contextlib import contextmanager, suppress

if os.name == "posix":
    import fcntl

    # To open what lies under the name of a temporary file neither waits nor leads elsewhere.
    CAREFULLY = os.O_NONBLOCK | os.O_NOFOLLOW
else:
    CAREFULLY = 0


def replace_file(path, content, overwrite):
    """Puts the bytes, or what ``content(file)`` writes, under `path` at once: whoever reads it sees
    the old file or the new one, never a part. The new file has the permissions of the old one and,
    where this process may give it away, its owner and group."""
    path = os.fspath(path)
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(errno.EEXIST, "file exists; pass overwrite=True to replace it", path)
    target = os.path.realpath(path)  # A link stays a link.
    if os.path.exists(target) and not os.path.isfile(
        target
    ):  # It would take the place of a device.
        raise OSError(errno.EINVAL, "not an ordinary file; give another name", path)
    try:
        with temporary_file(target) as file:
            content(file) if callable(content) else file.write(content)
            file.flush()
            if os.path.exists(target):
                _take_permissions(target, file.name)
            os.fsync(file.fileno())
            if os.name == "nt":
                file.close()  # Windows renames no open file.
            os.replace(file.name, target)
    except OSError as error:
        what = f"cannot write: {error.strerror}; the old file, if any, is untouched"
        raise OSError(error.errno, what, path) from error


@contextmanager
def temporary_file(target):
    """A new open file beside `target`, which is gone at the end unless it was renamed. Those that
    killed processes left there for the same target are removed."""
    # It lies in the same folder, as replacing across disks takes more than one step. It does not
    # hold the name of the target, which may have the greatest length already.
    name = hashlib.sha256(os.fsencode(os.path.basename(target))).hexdigest()[:8]
    start = os.path.join(os.path.dirname(target), f".fasthoag-{name}-")
    for left in glob.glob(glob.escape(start) + "*.tmp"):
        _remove_abandoned(left)
    file = _locked_file(start, 0o600 if os.path.exists(target) else 0o666)
    try:
        with file:
            yield file
    finally:
        with suppress(FileNotFoundError):
            os.unlink(file.name)


def _locked_file(start, mode):
    """A new open file whose name begins like this, locked for as long as it is open."""

    def create(path, flags):
        return os.open(path, flags, mode)

    while True:
        file = open(f"{start}{secrets.token_hex(4)}.tmp", "xb", opener=create)  # noqa: SIM115
        _lock(file)
        # Before it was locked another process may have taken it for an abandoned one.
        if os.path.exists(file.name):
            return file
        file.close()


def _lock(file):
    """Locks an open file unless another process has; says whether it did. On some file systems
    there are no locks. On Windows none are needed: nobody removes a file there that is open."""
    if os.name == "nt":
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_abandoned(path):
    """Removes a temporary file unless a process that lives holds it, or it is another user's."""

    def look(path, flags):
        return os.open(path, flags | CAREFULLY)

    with suppress(OSError), open(path, "rb", opener=look) as file:
        if _lock(file):
            if os.name == "nt":
                file.close()
            os.unlink(path)


def _take_permissions(old, new):
    """Gives the new file the owner, group, mode and extended attributes (access control lists among
    them) of the old one, as far as this process may."""
    found, made = os.stat(old), os.stat(new)
    mode = stat.S_IMODE(found.st_mode) & 0o777  # It runs as nobody.
    if os.name != "nt" and (found.st_uid, found.st_gid) != (made.st_uid, made.st_gid):
        with suppress(PermissionError):
            os.chown(new, -1, found.st_gid)
            os.chown(new, found.st_uid, -1)
        if os.stat(new).st_gid != found.st_gid:
            # What the old group may do, another one may not: it may what all others may.
            mode = mode & ~stat.S_IRWXG | (mode & stat.S_IRWXO) << 3
    with suppress(PermissionError):  # Some file systems of other machines keep no modes.
        shutil.copystat(old, new)
        os.chmod(new, mode)
    os.utime(new)  # It is new all the same.


def check_writable(path):
    """Raises OSError where `replace_file` would fail, as far as can be known before it."""
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        raise OSError(errno.EINVAL, "not an ordinary file", os.fspath(path))
    folder = os.stat(os.path.dirname(target))
    with temporary_file(target):
        pass
    try:
        owner = os.lstat(target).st_uid
    except FileNotFoundError:
        return
    if not folder.st_mode & stat.S_ISVTX or not hasattr(os, "geteuid"):
        return
    # In a folder that all may write to, such as /tmp, only its owner replaces a file.
    if os.geteuid() not in (0, owner, folder.st_uid):
        raise PermissionError(errno.EACCES, "the file is another user's", os.fspath(path))
