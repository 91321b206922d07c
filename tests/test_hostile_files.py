"""What comes in as a file may be anything: readers end with rows or with one sentence that names
the file, within the memory that they were given."""

import gzip
import io
import lzma
import os
import subprocess
import sys
import threading
import tracemalloc
import warnings
import zipfile
import zlib

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_array_equal
from support.texts import COMPRESS, ODD, REFUSED, random_text
from typer.testing import CliRunner

import fasthoag
from fasthoag import cli, memory
from fasthoag.io import load_data, load_svmlight, svmlight

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(fasthoag.__file__)))


@pytest.fixture
def write(tmp_path):
    def write(content, name="rows.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def assert_same_bits(result, expected):
    for a, b in zip(
        (result[1], *(getattr(result[0], name) for name in ("indptr", "indices", "data"))),
        (expected[1], *(getattr(expected[0], name) for name in ("indptr", "indices", "data"))),
        strict=True,
    ):
        assert_array_equal(a, b)
        assert a.dtype == b.dtype
    assert result[0].shape == expected[0].shape


# ---- blocks ----


@pytest.mark.parametrize("block", [32, 64, 1000])
@pytest.mark.parametrize("suffix", ["", *COMPRESS])
def test_rows_do_not_depend_on_the_size_of_blocks(write, monkeypatch, block, suffix):
    text = random_text(300, seed=5).encode()
    path = write(COMPRESS[suffix](text) if suffix else text)
    expected = load_svmlight(path)
    monkeypatch.setattr(svmlight, "BLOCK", block)
    for n_threads in (1, 2):
        assert_same_bits(load_svmlight(path, n_threads=n_threads), expected)


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
def test_odd_text_is_the_same_in_blocks_of_every_size(write, monkeypatch, text):
    path = write(text)
    expected = load_svmlight(path)
    for block in range(12, 50):  # no token is as long
        monkeypatch.setattr(svmlight, "BLOCK", block)
        assert_same_bits(load_svmlight(path), expected)


@pytest.mark.parametrize(("content", "message"), REFUSED, ids=lambda value: repr(value)[:30])
@pytest.mark.parametrize("block", [8, 1 << 10])
def test_faults_are_the_same_in_small_blocks(write, monkeypatch, content, message, block):
    monkeypatch.setattr(svmlight, "BLOCK", block)
    text = content if isinstance(content, bytes) else content.encode()
    with pytest.raises(ValueError, match=r"rows\.txt: "):
        load_svmlight(write(text))
    if block > len(text):
        with pytest.raises(ValueError, match=message):
            load_svmlight(write(text))
    if not text.strip() or message.startswith("no row"):
        return
    # far behind sound rows
    many = b"1 1:2 3:4\n" * 1000
    if message.startswith("line 1:") and not text.startswith((b"\xff\xfe", b"\x1f\x8b")):
        with pytest.raises(ValueError, match="line 1001:" + message.removeprefix("line 1:")[:12]):
            load_svmlight(write(many + text))


@pytest.mark.parametrize("block", [16, 1 << 22])
def test_wide_indices_far_into_a_text_make_all_of_them_int64(write, monkeypatch, block):
    monkeypatch.setattr(svmlight, "BLOCK", block)
    path = write("1 0:1 5:2\n" * 50 + "1 3000000000:2\n" + "1 7:1\n" * 50)
    X, _ = load_svmlight(path, n_features=3_000_000_001)
    assert X.indices.dtype == np.int64
    assert X.shape == (101, 3_000_000_001)
    assert_array_equal(X.indices, [0, 5] * 50 + [3_000_000_000] + [7] * 50)


def test_a_line_longer_than_blocks_is_read(write, monkeypatch):
    monkeypatch.setattr(svmlight, "BLOCK", 100)
    for separator in " ", "\t":
        entries = separator.join(f"{j}:{j}" for j in range(1, 500))
        X, y = load_svmlight(write(f"1 1:1\n-1{separator}{entries}\n1 2:1 # {'c' * 500}\n1 3:1"))
        assert_array_equal(y, [1, -1, 1, 1])
        assert_array_equal(X[1].toarray()[0], np.arange(1, 500))
        assert X[3, 2] == 1


# ---- the size of what comes ----


def rows_of_bytes(n):
    """Text whose rows take `n` bytes: a label, a row end and one entry each."""
    return b"1 1:1\n" * (n // 28)


@pytest.mark.parametrize("block", [64, 1 << 22])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_rows_beyond_max_bytes_are_refused_with_their_line(write, monkeypatch, block, pack):
    monkeypatch.setattr(svmlight, "BLOCK", block)
    text = b"# head\n\n" + rows_of_bytes(2800) + b"\n# more\n1 1:1\n"
    with pytest.raises(ValueError, match=r"rows\.txt: line 105: .* than max_bytes=2800 allows"):
        load_svmlight(write(pack(text)), max_bytes=2800)
    assert load_svmlight(write(pack(text)), max_bytes=2828)[0].shape == (101, 1)


def test_max_bytes_is_for_all_files_together(write):
    paths = [write(rows_of_bytes(2800), name) for name in "ab"]
    load_data(paths, max_bytes=6000)
    with pytest.raises(ValueError, match=r"b: line .* than max_bytes=4000 allows"):
        load_data(paths, max_bytes=4000)


def test_a_line_that_does_not_end_is_refused_within_max_bytes(write, monkeypatch):
    monkeypatch.setattr(svmlight, "BLOCK", 1000)
    for line in b"#" + b"x" * 10**6, b"-1 " + b" " * 10**6, b"1 " + b"1:" * 10**6:
        with pytest.raises(ValueError, match=r"rows\.txt: line 2, which does not end, .*max_bytes"):
            load_svmlight(write(b"1 1:1\n" + line), max_bytes=10**5)


class Endless(io.RawIOBase):
    """A piece, again and again, after which a test fails that should have ended."""

    def __init__(self, piece, n_most):
        self.piece, self.n_left = piece * (1 + 2**16 // len(piece)), n_most

    def readable(self):
        return True

    def readinto(self, target):
        n = min(len(target), len(self.piece))
        self.n_left -= n
        assert self.n_left > 0, "far more was read than needed"
        target[:n] = self.piece[:n]
        return n


@pytest.mark.parametrize("piece", [b"\0", b"x", b"1:1 ", b"\xff\n", b"1 2:1 2:1 "])
def test_what_is_wrong_at_its_begin_is_not_read_to_its_end(piece):
    with pytest.raises(ValueError, match="<Endless>: line 1: "):
        load_svmlight(Endless(piece, 2**24))


BOMB = """
import resource, sys
from fasthoag.io import load_svmlight
import numpy, scipy.sparse
with open("/proc/self/statm") as f:
    now = int(f.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    X, _ = load_svmlight(sys.argv[1], n_threads=1, max_bytes=int(sys.argv[3]))
    print(X.shape)
except ValueError as error:
    print(error)
"""


def with_little_memory(path, n_bytes, max_bytes):
    """What a process says of a file that may take so much more memory than Python has by then."""
    return subprocess.run(
        [sys.executable, "-c", BOMB, path, str(n_bytes), str(max_bytes)],
        env=os.environ | {"PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize(
    ("piece", "said"),
    [
        (b"1 1:1\n", "more memory than max_bytes=30000000 allows"),
        (b"1 1:1 # comment 1:2 3:4 " + b"c" * 2000 + b"\n", "(196608, 1)"),
        (b"# 1:2 3:4\n", "no rows"),
        (b" \n", "no rows"),
        (b"#" + b"x" * 99, "which does not end"),
    ],
    ids=["rows", "comments", "only comments", "blank lines", "no line end"],
)
def test_a_small_gz_of_much_text_takes_no_memory_for_the_text(tmp_path, piece, said):
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    if piece.startswith(b"1 1:1 #"):
        part, n_parts = piece * 2**11, 96  # 400 MB
    else:
        part, n_parts = piece * (2**22 // len(piece)), 100
    with open(tmp_path / "bomb", "wb") as file:
        for _ in range(n_parts):
            file.write(packer.compress(part))
        file.write(packer.flush())
    assert os.path.getsize(tmp_path / "bomb") < 10**7
    result = with_little_memory(tmp_path / "bomb", 200_000_000, 30_000_000)
    assert said in result.stdout, result.stderr


def test_limits_of_control_groups_count(tmp_path):
    root, proc = tmp_path / "cgroup", tmp_path / "proc"
    (root / "a/b").mkdir(parents=True)
    (root / "a/memory.max").write_text("5000\n")
    (root / "a/b/memory.max").write_text("max\n")
    (root / "memory/docker").mkdir(parents=True)
    (root / "memory/memory.limit_in_bytes").write_text("7000\n")
    proc.mkdir()
    assert list(memory.limits_of_groups(proc)) == []
    (proc / "cgroup").write_text("0::/a/b\n4:cpu,memory:/docker/x\n3:cpuset:/\n")
    (proc / "mountinfo").write_text(
        f"1 2 0:1 / {root} rw - cgroup2 cgroup2 rw\n"
        f"3 2 0:2 / {root}/memory rw - cgroup cgroup rw,cpu,memory\n"
    )
    assert sorted(memory.limits_of_groups(proc)) == [5000, 7000]
    assert 0 < memory.limit_of(None).max_bytes < memory.memory_of_process()


# ---- first bytes, pipes, odd files ----


@pytest.mark.parametrize("pack", [bytes, *COMPRESS.values()])
@pytest.mark.parametrize("name", ["rows.txt", "rows.gz", "rows.bz2", "rows.npz", "rows"])
def test_first_bytes_tell_what_a_text_is_whatever_its_name(write, pack, name):
    X, _ = load_data(write(pack(b"1 2:3\n"), name))
    assert_array_equal(X.toarray(), [[0, 3]])


@pytest.mark.parametrize("name", ["train.txt", "train.gz", "train"])
def test_first_bytes_tell_an_npz_whatever_its_name(tmp_path, name):
    X = scipy.sparse.eye(3, format="csr")
    with open(tmp_path / name, "wb") as file:
        scipy.sparse.save_npz(file, X)
    np.save(tmp_path / "train.npy", [1, -1, 1])
    assert_array_equal(load_data(tmp_path / name)[0].toarray(), X.toarray())
    with open(tmp_path / name, "rb") as file, open(tmp_path / "train.npy", "rb") as labels:
        assert_array_equal(load_data(file, labels)[1], [1, -1, 1])


def test_an_open_file_is_read_from_where_it_stands_and_stays_open(write):
    with open(write("head\n1 2:3\n"), "rb") as file:
        file.readline()
        assert load_svmlight(file)[0].shape == (1, 2)
        assert not file.closed
    with (
        open(write("1 2:3\n")) as file,
        pytest.raises(TypeError, match=r'rows\.txt is open as text; open it with mode "rb"'),
    ):
        load_svmlight(file)
    with pytest.raises(ValueError, match="<BytesIO>: line 2: value in '1:x'"):
        load_data(io.BytesIO(b"1 1:2\n1 1:x\n"))


def piped(tmp_path, content, read):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=[content])
    writer.start()
    try:
        return read(path)
    finally:
        writer.join()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("pack", [bytes, *COMPRESS.values()])
def test_a_pipe_may_be_compressed(tmp_path, pack):
    X, _ = piped(tmp_path, pack(b"1 2:3\n"), load_data)
    assert_array_equal(X.toarray(), [[0, 3]])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_an_npz_in_a_pipe_is_a_sentence(tmp_path):
    content = io.BytesIO()
    scipy.sparse.save_npz(content, scipy.sparse.eye(3, format="csr"))
    with pytest.raises(ValueError, match="pipe: a .npz archive in a pipe; save it to a file"):
        piped(tmp_path, content.getvalue(), load_data)


def test_odd_texts_and_names_end_in_rows_or_a_sentence(write, tmp_path):
    assert load_svmlight(write(b"\n" * 10**6 + b"1 1:1\n"))[0].shape == (1, 1)
    assert load_svmlight(write(b"1 qid:" + b"9" * 1000 + b" 1:1\r\n"))[0].shape == (1, 1)
    assert load_svmlight(write(b"\xef\xbb\xbf1 1:1"), n_threads=10**30)[0].shape == (1, 1)
    with pytest.raises(ValueError, match="no rows; the file is empty"):
        load_svmlight(write(b"\xef\xbb\xbf"))
    for name in (os.fsencode(tmp_path) + b"/a\xff", os.fsdecode(os.fsencode(tmp_path) + b"/a\xff")):
        with open(name, "wb") as file:
            file.write(b"1 1:x\n")
        with pytest.raises(ValueError, match="a\udcff: line 1: value in '1:x'"):
            load_svmlight(name)
    for name in ("a\0b", "a" * 5000, "\ud800"):
        with pytest.raises(FileNotFoundError):
            load_data(name)


@needs_proc
def test_files_of_the_system_end_in_a_sentence():
    with pytest.raises(ValueError, match="/proc/self/status: line 1: the row begins with 'Name:'"):
        load_svmlight("/proc/self/status")
    with pytest.raises(OSError, match="Input/output error: '/proc/self/mem'"):
        load_svmlight("/proc/self/mem")
    with pytest.raises(ValueError, match="/dev/urandom: line 1: .*not look like LIBSVM text"):
        load_svmlight("/dev/urandom")


def test_a_file_that_shrinks_while_it_is_read_does_no_harm(write, monkeypatch):
    monkeypatch.setattr(svmlight, "BLOCK", 1000)
    path = write(b"1 1:1\n" * 1000)
    with open(path, "rb", buffering=0) as file:

        class Shrinking(io.RawIOBase):
            def readinto(self, target):
                n = file.readinto(target)
                os.truncate(path, 600)
                return n

        assert load_svmlight(Shrinking())[0].shape[0] < 1000


def test_damage_behind_the_block_is_named_and_not_its_nonsense(write, monkeypatch):
    monkeypatch.setattr(svmlight, "BLOCK", 1000)
    text = b"1 1:1\n" * 1000 + b"1 1:x\n" + random_text(500, seed=1).encode()
    for compress in COMPRESS.values():
        content = compress(text)
        with pytest.raises(ValueError, match="line 1001: value in '1:x'"):
            load_svmlight(write(content))
        with pytest.raises(ValueError, match=r"rows\.txt: truncated or corrupt"):
            load_svmlight(write(content[:-9]))


def test_an_xz_file_that_asks_for_gigabytes_to_unpack_is_refused(write):
    content = bytearray(lzma.compress(b"1 1:1\n"))
    # The header of the block holds the size of the dictionary in its last byte of properties.
    start = 12  # of the header of the block
    size = (content[start] + 1) * 4
    assert content[start + 2] == lzma.FILTER_LZMA2
    content[start + 4] = 40  # 4 GiB
    content[start + size - 4 : start + size] = zlib.crc32(
        content[start : start + size - 4]
    ).to_bytes(4, "little")
    with pytest.raises(ValueError, match=r"rows\.txt: truncated or corrupt xz .*[Mm]emory"):
        load_svmlight(write(bytes(content)))


def test_zst_is_read_or_says_what_it_needs(write):
    frame = b"\x28\xb5\x2f\xfd\x20\x06\x31\x00\x001 2:3\n"  # one raw block of 6 bytes
    try:
        __import__("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    except ImportError:
        with pytest.raises(ValueError, match="zst data needs Python 3.14 or: pip install"):
            load_svmlight(write(frame))
        return
    assert load_svmlight(write(frame))[0].shape == (1, 2)
    assert load_svmlight(write(frame * 3))[0].shape == (3, 2)
    with pytest.raises(ValueError, match="truncated or corrupt zst"):
        load_svmlight(write(frame[:-3]))


# ---- npz ----


def npy(array, header=None):
    """The bytes of an ``.npy`` file, perhaps with another header in front of the values."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)
    content = content.getvalue()
    if header is None:
        return content
    text = header.encode().ljust(117) + b"\n"
    return content[:8] + len(text).to_bytes(2, "little") + text + np.asarray(array).tobytes()


def claims(shape, descr="<f8", array=()):
    return npy(
        np.array(array, float),
        f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}",
    )


CSR = {
    "format": b"csr",
    "shape": np.array([3, 4]),
    "data": np.array([1.0, 2.0, 3.0]),
    "indices": np.array([0, 3, 1]),
    "indptr": np.array([0, 1, 2, 3]),
}
COO = {
    "format": b"coo",
    "shape": np.array([3, 4]),
    "data": np.ones(2),
    "row": np.array([0, 2]),
    "col": np.array([3, 1]),
}
DIA = {
    "format": b"dia",
    "shape": np.array([3, 4]),
    "data": np.ones((2, 4)),
    "offsets": np.array([0, -1]),
}
BSR = {
    "format": b"bsr",
    "shape": np.array([4, 4]),
    "data": np.ones((2, 2, 2)),
    "indices": np.array([0, 1]),
    "indptr": np.array([0, 1, 2]),
}
HUGE = 2**40
UNSOUND = {
    "row ends that jump ahead": CSR | {"indptr": np.array([0, 10**9, 0, 3])},
    "row ends that end below 0": CSR | {"indptr": np.array([0, 1, 2, -1])},
    "row ends that end too late": CSR | {"indptr": np.array([0, 1, 2, 4])},
    "row ends that begin late": CSR | {"indptr": np.array([1, 1, 2, 3])},
    "row ends for fewer rows": CSR | {"indptr": np.array([0, 1, 3])},
    "no row ends": CSR | {"indptr": np.zeros(0, int)},
    "an index too large": CSR | {"indices": np.array([0, 4, 1])},
    "a negative index": CSR | {"indices": np.array([0, -1, 1])},
    "an index beyond int64": CSR | {"indices": np.array([0, 2**64 - 1, 1], np.uint64)},
    "real indices": CSR | {"indices": np.array([0.0, 3.0, 1.0])},
    "indices in a table": CSR | {"indices": np.array([[0, 3, 1]])},
    "fewer indices": CSR | {"indices": np.array([0, 3])},
    "fewer values": CSR | {"data": np.ones(2)},
    "values in a table": CSR | {"data": np.ones((3, 1))},
    "complex values": CSR | {"data": np.ones(3, complex)},
    "objects": CSR | {"data": np.array([None, 1, 2])},
    "text": CSR | {"data": np.array(["a", "b", "c"])},
    "a real shape": CSR | {"shape": np.array([3.0, 4.0])},
    "a negative shape": CSR | {"shape": np.array([-3, 4])},
    "a shape of three": CSR | {"shape": np.array([3, 4, 1])},
    "a shape in a table": CSR | {"shape": np.array([[3, 4]])},
    "many rows": CSR | {"shape": np.array([HUGE, 4])},
    "many features": CSR | {"shape": np.array([3, 2**62])},
    "very many features": CSR | {"shape": np.array([3, HUGE * 2**10])},
    "as csc": CSR | {"format": b"csc"},
    "csc with many rows": CSR
    | {"format": b"csc", "shape": np.array([HUGE, 3]), "indices": np.array([0, HUGE - 1, 1])},
    "another format": CSR | {"format": b"lil"},
    "a format of text": CSR | {"format": "__class__"},
    "formats": CSR | {"format": np.array([b"csr", b"csr"])},
    "no format": {name: array for name, array in CSR.items() if name != "format"},
    "no data": {name: array for name, array in CSR.items() if name != "data"},
    "more than a matrix": CSR | {"more": np.ones(3)},
    "a path": CSR | {"/etc/passwd": np.ones(3)},
    "coo with many rows": COO | {"shape": np.array([HUGE, 4])},
    "coo beyond its rows": COO | {"row": np.array([0, 3])},
    "coo beyond its columns": COO | {"col": np.array([0, 4])},
    "coo before its rows": COO | {"row": np.array([0, -1])},
    "coo with fewer rows": COO | {"row": np.array([0])},
    "dia beyond its columns": DIA | {"offsets": np.array([0, 4])},
    "dia before its rows": DIA | {"offsets": np.array([0, -(2**62)])},
    "dia twice": DIA | {"offsets": np.array([1, 1])},
    "dia of fewer": DIA | {"offsets": np.array([1])},
    "dia of many rows": DIA | {"shape": np.array([HUGE, 4])},
    "bsr in blocks that do not fit": BSR | {"shape": np.array([5, 4])},
    "bsr in empty blocks": BSR | {"data": np.ones((2, 0, 2))},
    "bsr in flat blocks": BSR | {"data": np.ones((2, 4))},
    "bsr beyond its columns": BSR | {"indices": np.array([0, 2])},
    "bsr of many rows": BSR
    | {"data": claims((0, HUGE, 1)), "indices": np.zeros(0, int), "indptr": np.zeros(3, int)}
    | {"shape": np.array([2 * HUGE, 1])},
    "a claim of many values": CSR | {"data": claims((HUGE,))},
    "a claim of very many values": CSR | {"data": claims((2**62, 2**62))},
    "a claim of fewer values": CSR | {"data": claims((2,), array=[1.0, 2.0, 3.0])},
    "a claim of a negative number": CSR | {"data": claims((-3,))},
    "a claim of True values": CSR | {"data": claims("(True,)", array=[1.0])},
    "wide text": CSR | {"format": claims((), "<U99999999999")},
    "an unknown type": CSR | {"data": claims((3,), "|X8")},
    "a header of brackets": CSR | {"data": npy(1, "(" * 110)},
    "a long header": CSR | {"data": b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little")},
    "a newer version": CSR | {"data": b"\x93NUMPY\x09\x00" + bytes(200)},
    "no array": CSR | {"data": b"data"},
    "an empty member": CSR | {"indptr": b""},
}


def save_parts(path, parts, **settings):
    with zipfile.ZipFile(path, "w", **settings) as archive:
        for name, array in parts.items():
            archive.writestr(
                name + ".npy", array if isinstance(array, bytes) and len(array) != 3 else npy(array)
            )


@pytest.fixture
def labels(tmp_path):
    np.save(tmp_path / "rows.npy", [1.0, -1.0, 1.0])
    return tmp_path / "rows.npz"


@pytest.mark.parametrize("parts", UNSOUND.values(), ids=UNSOUND.keys())
def test_an_unsound_npz_is_one_sentence(labels, parts):
    save_parts(labels, parts)
    tracemalloc.start()
    with warnings.catch_warnings(), pytest.raises(ValueError, match=r"rows\.npz") as caught:
        warnings.simplefilter("error")
        load_data(labels)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("parts", [CSR, CSR | {"format": "csr"}, COO, DIA, BSR])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_sound_parts_are_a_matrix(labels, parts, method):
    save_parts(labels, parts, compression=method)
    X = scipy.sparse.load_npz(labels)
    np.save(labels.with_suffix(".npy"), np.arange(X.shape[0]))
    assert_array_equal(load_data(labels)[0].toarray(), X.toarray())


def test_parts_of_other_types_and_orders_are_the_same_matrix(labels):
    expected = scipy.sparse.csr_matrix((CSR["data"], CSR["indices"], CSR["indptr"]), (3, 4))
    for change in (
        {"indices": CSR["indices"].astype(">i4"), "data": CSR["data"].astype(">f4")},
        {"indptr": CSR["indptr"].astype(np.uint64), "shape": CSR["shape"].astype(np.uint8)},
    ):
        save_parts(labels, CSR | change)
        assert_array_equal(load_data(labels)[0].toarray(), expected.toarray())
    dia = DIA | {"data": np.asfortranarray(np.arange(8.0).reshape(2, 4))}
    save_parts(labels, dia)
    expected = scipy.sparse.dia_matrix((dia["data"], dia["offsets"]), (3, 4))
    assert_array_equal(load_data(labels)[0].toarray(), expected.toarray())
    coords = {name: array for name, array in COO.items() if name not in ("row", "col")}
    save_parts(labels, coords | {"coords": np.array([COO["row"], COO["col"]])})
    assert load_data(labels)[0][2, 1] == 1


def test_spare_values_of_a_csr_matrix_are_not_read(labels):
    X = scipy.sparse.csr_matrix((CSR["data"], CSR["indices"], np.array([0, 1, 2, 2])), (3, 4))
    scipy.sparse.save_npz(labels, X)
    assert load_data(labels)[0].nnz == 2


def test_damaged_archives_are_one_sentence(labels):
    save_parts(labels, CSR)
    content = labels.read_bytes()
    damaged = [content[:n] for n in range(4, len(content), 97)]
    damaged += [content.replace(b"data.npy", b"shape.np")]
    for at in range(4, len(content), 41):
        flipped = bytearray(content)
        flipped[at] ^= 0xFF
        damaged.append(bytes(flipped))
    errors = []
    for other in damaged:
        labels.write_bytes(other)
        try:
            load_data(labels)
        except ValueError as error:
            errors.append(str(error))
    assert all(error.startswith(str(labels)) for error in errors)
    assert len(errors) > len(damaged) // 2  # Dates and the like may be anything.
    encrypted = bytearray(content)
    encrypted[content.index(b"PK\x01\x02") + 8] |= 1
    labels.write_bytes(encrypted)
    with pytest.raises(ValueError, match=r"rows\.npz.*format.npy is encrypted"):
        load_data(labels)
    with warnings.catch_warnings(), zipfile.ZipFile(labels, "w") as archive:
        warnings.simplefilter("ignore")
        for _ in range(2):
            archive.writestr("data.npy", npy(np.ones(3)))
    with pytest.raises(ValueError, match=r"rows\.npz.*two members are called 'data.npy'"):
        load_data(labels)
    save_parts(labels, CSR, compression=zipfile.ZIP_LZMA)
    with pytest.raises(ValueError, match=r"rows\.npz.*compressed otherwise"):
        load_data(labels)


@pytest.mark.parametrize("name", ["data", "indptr", "shape", "format"])
def test_a_member_that_unpacks_to_more_than_max_bytes_takes_no_memory(labels, name):
    save_parts(labels, CSR | {name: npy(np.zeros(2**21))}, compression=zipfile.ZIP_DEFLATED)
    assert os.path.getsize(labels) < 2**17
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"rows\.npz"):
        load_data(labels, max_bytes=2**20)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


BAD_LABELS = {
    "a claim of many": claims((HUGE,)),
    "more than they say": claims((1,), array=[1.0, 2.0, 3.0]),
    "objects": npy(np.array([None, 1, 2])),
    "text": npy(np.array(["a", "b", "c"])),
    "a zip": b"PK\x03\x04" + bytes(100),
    "nothing": b"",
    "LIBSVM text": b"1 1:1\n",
    "truncated": npy(np.ones(3))[:-1],
}


@pytest.mark.parametrize("content", BAD_LABELS.values(), ids=BAD_LABELS.keys())
def test_bad_labels_are_one_sentence(labels, content):
    save_parts(labels, CSR)
    labels.with_suffix(".npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"rows\.npy: not an array that numpy.save wrote"):
        load_data(labels)
    if hasattr(os, "mkfifo"):
        with pytest.raises(ValueError, match=r"pipe: not an array that numpy.save wrote"):
            piped(labels.parent, content, lambda path: load_data(labels, path, max_bytes=10**6))


# ---- the command line ----


def run(*args, stdin=b""):
    arguments = [str(arg) for arg in args]
    return CliRunner().invoke(cli.app, arguments, prog_name="fasthoag", input=stdin)


def some_rows():
    rng = np.random.default_rng(0)
    lines = (f"{1 if x > 0 else -1} 1:{x:.3f} 2:{rng.normal():.3f}" for x in rng.normal(size=60))
    return ("\n".join(lines) + "\n").encode()


@pytest.mark.parametrize("pack", [bytes, *COMPRESS.values()])
def test_standard_input_is_a_file_of_rows(write, tmp_path, pack):
    text = some_rows()
    model, expected = tmp_path / "model", tmp_path / "expected"
    result = run("tune", "-", "--out", model, "--threads", 1, stdin=pack(text))
    assert result.exit_code == 0, result.output
    assert run("tune", write(text), "--out", expected, "--threads", 1).exit_code == 0
    assert_array_equal(fasthoag.load_model(model).coef, fasthoag.load_model(expected).coef)
    said = run("predict", model, "-", stdin=pack(text))
    assert said.exit_code == 0, said.output
    assert said.stdout == run("predict", model, write(text)).stdout


def test_what_cannot_be_done_with_standard_input_is_a_sentence(write, tmp_path):
    result = run("tune", "-", "--valid", "-")
    assert result.exit_code == 1
    assert "- is standard input, which is one file" in result.stderr
    result = run("tune", write(some_rows()), "--test", "-", stdin=b"1 1:x\n")
    assert "line 1: value in '1:x' is not a number" in result.stderr
    with open(os.devnull, "rb") as nothing:
        done = subprocess.run(
            [sys.executable, "-m", "fasthoag", "tune", "-"],
            env=os.environ | {"PYTHONPATH": ROOT},
            stdin=nothing,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stderr == "fasthoag: <stdin>: no rows; the file is empty or holds only comments\n"
    with (
        open(os.open(os.devnull, os.O_RDONLY), "rb") as file,
        pytest.raises(ValueError, match=r"^file descriptor \d+: no rows"),
    ):
        fasthoag.load_svmlight(file)
    content = io.BytesIO()
    scipy.sparse.save_npz(content, scipy.sparse.eye(3, format="csr"))
    done = subprocess.run(
        [sys.executable, "-m", "fasthoag", "tune", "-"],
        env=os.environ | {"PYTHONPATH": ROOT},
        input=content.getvalue(),
        capture_output=True,
        check=False,
    )
    assert b"fasthoag: <stdin>: a .npz archive in a pipe; save it to a file" in done.stderr


@pytest.mark.parametrize("command", [["tune"], ["predict", "model"]])
def test_max_memory_is_kept(write, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    path = write(some_rows())
    assert run("tune", path, "--out", "model", "--threads", 1).exit_code == 0
    result = run(*command, path, "--max-memory", 1e-6)
    assert result.exit_code == 1
    assert "rows.txt: line 26: the rows up to here take more memory" in result.stderr
    assert "max_bytes=1000 allows; give a larger max_bytes (--max-memory)" in result.stderr


@pytest.mark.parametrize("gigabytes", [1e10, 1e300, "inf"])
def test_more_memory_than_there_are_bytes_is_no_limit(write, gigabytes):
    path = write(some_rows())
    assert run("tune", path, "--max-memory", gigabytes).exit_code == 0
    assert fasthoag.load_svmlight(path, max_bytes=2**70)[0].shape[0] > 0


def test_too_many_threads_are_said_once(write):
    result = run("tune", write(some_rows()), "--threads", 10**6)
    assert result.stderr.count("--threads 1000000 is more than the number of cores") == 1


def test_labels_of_an_npz_of_any_name_are_not_replaced(tmp_path):
    with open(tmp_path / "rows.data", "wb") as file:
        scipy.sparse.save_npz(file, scipy.sparse.eye(3, format="csr"))
    np.save(tmp_path / "rows.npy", [1, -1, 1])
    result = run("tune", tmp_path / "rows.data", "--out", tmp_path / "rows.npy", "--force")
    assert "rows.npy is one of the inputs" in result.stderr
