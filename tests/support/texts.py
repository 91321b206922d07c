"""LIBSVM text of all kinds: random, odd, and refused with a sentence."""

import bz2
import gzip
import lzma

import numpy as np

COMPRESS = {".bz2": bz2.compress, ".gz": gzip.compress, ".xz": lzma.compress}


def random_text(n_rows, seed):
    """Rows with everything a file may have: comments, blank lines, qid, zeros, any order of the
    indices."""
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(n_rows):
        indices = rng.choice(5000, size=rng.integers(0, 12), replace=False) + 1
        values = [
            ("0", "1", "0.0", f"{v!r}", f"{v:.3e}")[rng.integers(5)]
            for v in rng.random(len(indices)).tolist()
        ]
        entries = "".join(f" {j}:{v}" for j, v in zip(indices, values, strict=False))
        lines.append(
            f"{i % 3}{' qid:3' if i % 7 == 0 else ''}{entries}{' # 3:4 c' if i % 5 == 0 else ''}"
        )
        lines += ["", "# 1:2 whole line"][: i % 3] if i % 11 == 0 else []
    return "\n".join(lines)


# that mean the same two rows
ODD = {
    "tabs, CRLF, blank lines": "+1\t1:2 \t 3:4\r\n\r\n   \n-1 2:5\r\n",
    "comments": "# head 1:2\n1 1:2 3:4 # tail 5:6\n-1 2:5# close\n",
    "qid": "1 qid:10 1:2 3:4\n-1 qid:2\t2:5\n",
    "byte order mark": "\ufeff1 1:2 3:4\n-1 2:5\n",
    "any order": "1 3:4 1:2\n-1 2:5",
    "explicit zeros": "1 1:2 2:0 3:4\n-1 2:5 3:0.0",
    "real labels": "1e0 1:2 3:4\n-1.0 2:5.0",
    "0-based": "1 0:2 2:4\n-1 1:5",
    "0-based by a zero": "1 0:2 2:4\n-1 0:0 1:5",
    "leading zeros and blanks": "  1 001:2 0003:4\n -1 2:5 ",
    "underflow": "1 1:2 2:1e-400 3:4\n-1 1:-1e-999 2:5",
}

REFUSED = [
    ("1 1:1\n1 7:1 7:2", "line 2: feature 7 appears twice"),
    ("1 7:1 3:1 7:0", "line 1: feature 7 appears twice"),
    ("1 0:1 3:1 0:0", "line 1: feature 0 appears twice"),
    ("1 1:1\n\n# c\n-1 -1:3", "line 4: negative feature index in '-1:3'"),
    ("1 1.5:3", "line 1: feature index in '1.5:3' is not a whole number"),
    ("1 99999999999999999999:3", "line 1: feature index in .* is too large"),
    ("1 1:1\n1 3:", "line 2: no value after the colon in '3:'"),
    ("1 1:1\n1 3", "line 2: expected index:value, found '3'"),
    ("1 1:1 rest\n1 3:1", "line 1: expected index:value, found 'rest'"),
    ("1 1:1e", "line 1: value in '1:1e' is not a number"),
    ("1 1:1_000", "line 1: value in '1:1_000' is not a number"),
    ("1 1:1e400", "line 1: value in '1:1e400' is not finite"),
    ("1 1:NaN", "line 1: value in '1:NaN' is not finite"),
    ("1e999 1:1", "line 1: label '1e999' is not finite"),
    ("nan 1:1", "line 1: label 'nan' is not finite"),
    ("1 1:1\n2:1 3:1", "line 2: the row begins with '2:1' where its label should be"),
    ("1,3 1:1", "line 1: label '1,3' has a comma, and a row has one label here; read"),
    ("1 qid:x 1:1", "line 1: 'qid:x' is not qid: and a whole number"),
    ("1 1:1 qid:2", "line 1: feature index in 'qid:2' is not a whole number"),
    ("1 1:1\n1 " + "y" * 999, r"line 2: expected index:value, found 'y{40}\.\.\.'"),
    ("", "no rows; the file is empty"),
    ("\n \n# only a comment\n", "no rows; the file is empty or holds only comments"),
    ("1\n-1\n", "no row has any feature; give n_features"),
    (
        b"1 1:2\n1 2:\x00",
        r"line 2: value in '2:\\x00' is not a number; this does not look like LIBSVM text",
    ),
    (
        b"\x80\x81\xff\x00" * 50,
        r"line 1: label '\\x80\\x81.*\.\.\.' is not a number; this does not look like LIBSVM",
    ),
    (
        gzip.compress(bz2.compress(b"1 1:2\n" * 99), mtime=0),
        r"line 1: .*not look like LIBSVM text \(binary, or compressed twice",
    ),
    ("1 1:2\n".encode("utf-16"), "line 1: .*does not look like LIBSVM text"),
]
