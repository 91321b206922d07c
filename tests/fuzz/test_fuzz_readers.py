"""Files with anything in them are read or refused: see `judges`."""

import bz2
import gzip
import lzma

import judges
import numpy as np
import pytest
from fuzzing import try_cases
from mutations import archive, broken_array, npy, parts, scrambled

from fasthoag.io import Model
from fasthoag.io.model_file import LINEAR, VERSIONS

COMPRESS = {".bz2": bz2.compress, ".gz": gzip.compress, ".xz": lzma.compress}
TOKENS = "1 -1 +1.5e3 1:2 2:0.5 3:-1e-5 7:0 0:1 qid:3 1e999 nan 2:inf 2147483648:1 : 1: 1:1:1 -3:1"
TOKENS += " 99999999999999999999:1 1,2 \0 \ufeff é 1e . 5:1e-400 123456789012345678:1 0x1p3 1_000"
WORDS = TOKENS.split(" ")
WORDS += ["\n", "\n", "\n", "\r\n", "\t", " ", "# note", "# 1:2", "1" * 300, "1:" + "9" * 400]


def any_text(rng):
    text = " ".join(rng.choice(WORDS) for _ in range(rng.randint(0, 12))).encode()
    return (scrambled(rng, text) if rng.randint(0, 1) else text,)


def compressed_text(rng):
    suffix = rng.choice(sorted(COMPRESS))
    content = COMPRESS[suffix](*any_text(rng))
    return scrambled(rng, content) if rng.randint(0, 1) else content, suffix


def saved_matrix(rng):
    found = parts(rng, ["csr", "csc", "coo", "bsr", "dia"])
    return (archive(rng, {**found, "format": np.array(str(found["format"]).encode())}),)


def saved_labels(rng):
    vector = rng.choice([np.arange(4.0), np.arange(4), np.array([True, False] * 2)])
    return (npy(rng, broken_array(rng, vector) if rng.randint(0, 1) else vector),)


def fields_of(**fields):
    model = Model(**fields)
    arrays = {name: np.asarray(value) for name, value in vars(model).items()}
    return arrays | {"format": np.array(LINEAR), "version": np.array(VERSIONS[LINEAR])}


MODELS = [
    fields_of(loss="squared", coef=[[1.0, 2.0]], intercept=[0.5]),
    fields_of(loss="logistic", coef=[[1.0, 2.0]], intercept=[0.5], classes=["no", "yes"]),
    fields_of(loss="multinomial", coef=np.eye(3), intercept=np.zeros(3), classes=[1, 2, 3]),
    fields_of(
        loss="logistic", coef=np.eye(3), intercept=np.zeros(3), classes=[0, 1], has_labels=True
    ),
    fields_of(loss="poisson", coef=[[0.5]], intercept=[0.0], theta=[0.1], zero_based=True),
]


def saved_model(rng):
    return (archive(rng, rng.choice(MODELS)),)


FILES = {
    "text": (any_text, judges.text),
    "compressed text": (compressed_text, judges.text),
    "matrix": (saved_matrix, judges.matrix),
    "labels": (saved_labels, judges.labels),
    "model": (saved_model, judges.model),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_or_refused(name):
    try_cases(*FILES[name], n_cases=150)
