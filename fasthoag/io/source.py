"""Bytes of a path or of an open file. Their first ones tell what they are, not the name."""

import bz2
import errno
import gzip
import importlib
import io
import lzma
import os
import stat
from contextlib import contextmanager

from fasthoag.io.inputs import raise_unless_content

ARCHIVE = b"PK"  # a zip file, which a .npz is
COMPRESSED = {
    b"BZh": "bz2",
    b"\x1f\x8b": "gz",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
}
LONGEST = 6  # of the first bytes above
PIECE = 1 << 15  # Of compressed bytes. Every stream that begins in it copies the rest of it.
# A .xz file says how much memory its unpacking takes, up to 4 GiB; xz -9 says 65 MiB.
DICTIONARY = 1 << 28


def is_archive(path):
    """Whether this is an ordinary file that begins as a ``.npz`` does. A pipe is never looked into:
    what is read from it is gone."""
    if isinstance(path, io.IOBase):
        if not path.seekable():
            return False
        begin = path.tell()
        head = read_fully(path, len(ARCHIVE))
        path.seek(begin)
        return head == ARCHIVE
    if not os.path.isfile(path):
        return False
    with opened(path) as file:
        return read_fully(file, len(ARCHIVE)) == ARCHIVE


@contextmanager
def opened(path):
    """The file of a path, unbuffered; or the open file that it is, which stays open."""
    if isinstance(path, io.IOBase):
        yield path
    else:
        try:
            with open(path, "rb", buffering=0) as file:
                yield file
        except OSError as error:
            if error.errno and error.filename is None:  # A fault of reading does not say it.
                raise OSError(error.errno, error.strerror, path) from error
            raise


@contextmanager
def opened_text(path):
    """The bytes of a text, unpacked if they are compressed, and how they were (None: plain)."""
    with opened(path) as file:
        head = read_fully(file, LONGEST)
        whole = _Rejoined(head, file)
        if head.startswith(ARCHIVE):
            raise ValueError("a .npz archive in a pipe; save it to a file and give its name.")
        kind = next((kind for begin, kind in COMPRESSED.items() if head.startswith(begin)), None)
        yield whole if kind is None else _Unpacked(whole, kind), kind


def fill(stream, view):
    """Reads until `view` is full or the stream ends; returns how many bytes were read."""
    n = 0
    while n < len(view):
        more = stream.readinto(view[n:])
        if more is None:
            raise BlockingIOError(errno.EAGAIN, "nothing to read yet; give a file that waits")
        if more == 0:
            break
        n += more
    return n


def read_fully(stream, n):
    """The next `n` bytes, or fewer where the stream ends."""
    content = bytearray(n)
    with memoryview(content) as view:
        return bytes(view[: fill(stream, view)])


def size_of(file):
    """How many bytes an ordinary file has from where it stands; None for a pipe, a device, or what
    is no file of the system."""
    try:
        status = os.fstat(file.fileno())
    except (OSError, io.UnsupportedOperation):
        return None
    return status.st_size - file.tell() if stat.S_ISREG(status.st_mode) else None


class _Rejoined(io.RawIOBase):
    """A stream of which the first bytes were read already."""

    def __init__(self, head, rest):
        self._head, self._rest = head, rest

    def readable(self):
        return True

    def readinto(self, target):
        if not self._head:
            return self._rest.readinto(target)
        n = min(len(self._head), len(target))
        target[:n], self._head = self._head[:n], self._head[n:]
        return n


class _Unpacked(io.RawIOBase):
    """The content of a compressed stream. It raises ValueError where that is damaged."""

    def __init__(self, packed, kind):
        self._kind = kind
        self._stream = (
            gzip.GzipFile(fileobj=packed) if kind == "gz" else _Parts(packed, decoder_of(kind))
        )

    def readable(self):
        return True

    def readinto(self, target):
        try:
            return self._stream.readinto(target)
        except Exception as error:
            raise_unless_content(error)
            raise ValueError(
                f"truncated or corrupt {self._kind} data ({error}); fetch it again."
            ) from error


class _Parts(io.RawIOBase):
    """The content of compressed streams one after another, as pbzip2 writes them. Zeros between
    them are padding; anything else that is no stream is an error, as rows may be lost with it."""

    def __init__(self, packed, make_decoder):
        self._packed, self._make, self._decoder = packed, make_decoder, make_decoder()

    def readable(self):
        return True

    def readinto(self, target):
        content = b""
        while not content:
            decoder = self._decoder
            if decoder.eof:
                rest = decoder.unused_data.lstrip(b"\0")
                while not rest:
                    if not (piece := self._packed.read(PIECE)):
                        return 0
                    rest = piece.lstrip(b"\0")
                self._decoder = self._make()
            elif not decoder.needs_input:
                rest = b""
            elif not (rest := self._packed.read(PIECE)):
                raise EOFError("it ends too early")
            content = self._decoder.decompress(rest, len(target))
        target[: len(content)] = content
        return len(content)


def decoder_of(kind):
    """A function that makes decoders of one stream each."""
    if kind == "bz2":
        return bz2.BZ2Decompressor
    if kind == "xz":
        return lambda: lzma.LZMADecompressor(memlimit=DICTIONARY)
    for name in ("compression.zstd", "backports.zstd"):  # of Python 3.14, of older ones
        try:
            return importlib.import_module(name).ZstdDecompressor
        except ImportError:
            continue
    raise ValueError(
        'zst data needs Python 3.14 or: pip install "backports.zstd"; or unpack it with zstd -d.'
    )
