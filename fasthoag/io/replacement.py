"""Output files that appear under their name only when they are complete."""

import errno
import os
import secrets
import stat


def replace_file(path, content, overwrite):
    """Puts the bytes under `path` at once: whoever reads it sees the old file or the new one, never
    a part."""
    path = os.fspath(path)
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(errno.EEXIST, "file exists; pass overwrite=True to replace it", path)
    target, temporary = _places(path)
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError):
            what = f"cannot write: {error.strerror}; the old file, if any, is untouched"
            raise OSError(error.errno, what, path) from error
        raise


def _places(path):
    """The file to replace, and a temporary name beside it. A link stays a link: the file to replace
    is the one that it points to."""
    target = os.path.realpath(path)
    # It lies in the same folder, as replacing across disks takes more than one step. It does not
    # hold the name of the target, which may have the greatest length already.
    name = f".fasthoag-{secrets.token_hex(4)}.tmp"
    return target, os.path.join(os.path.dirname(target), name)


def check_writable(path):
    """Raises OSError where `replace_file` would fail, as far as can be known before it."""
    target, temporary = _places(path)
    folder = os.stat(os.path.dirname(target))
    open(temporary, "xb").close()
    os.unlink(temporary)
    try:
        owner = os.lstat(target).st_uid
    except FileNotFoundError:
        return
    if not folder.st_mode & stat.S_ISVTX or not hasattr(os, "geteuid"):
        return
    # In a folder that all may write to, such as /tmp, only its owner replaces a file.
    if os.geteuid() not in (0, owner, folder.st_uid):
        raise PermissionError(errno.EACCES, "the file is another user's", os.fspath(path))
