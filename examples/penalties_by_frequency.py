"""Learned penalties: the strength of a word as a function of how many texts have it.

tf-idf multiplies the values of a word by its idf, which is the same as to give it the strength
λ / idf². `StructuredRidge` learns instead how strengths follow the number of texts n: log λ is
linear in log(1 + n), and both of its coefficients are tuned. On plain term frequencies that is
better than one strength, and at least as good as the idf that experience has found."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics import log_loss

import fasthoag
from fasthoag.datasets import make_text

X, y = make_text(10_000, 20_000, use_idf=False, random_state=0)
y = 2.0 * y - 1
train, judge, unseen = slice(0, 4000), slice(4000, 6000), slice(6000, None)
n_texts = np.bincount(X[train].indices, minlength=X.shape[1])
tf_idf = TfidfTransformer(norm=None).fit(X[train])
properties = np.column_stack([np.ones(X.shape[1]), np.log1p(n_texts)])

losses, strengths = {}, {}
for name, rows, penalty in (
    ("one strength", X, fasthoag.Ridge()),
    ("tf-idf, one strength", tf_idf.transform(X), fasthoag.Ridge()),
    ("learned", X, fasthoag.StructuredRidge(properties)),
):
    problem = fasthoag.Problem(rows[train], y[train], "logistic", penalty=penalty)
    result = fasthoag.hoag(problem, fasthoag.HeldOut(rows[judge], y[judge]))
    z = rows[unseen] @ result.w[:-1, 0] + result.w[-1, 0]
    losses[name] = log_loss(y[unseen], 1 / (1 + np.exp(-z)))
    strengths[name] = problem.read(result.theta)["strengths"]
    print(f"{name}: log-loss {losses[name]:.4f}")
print(f"result: fasthoag {losses['learned']:.4f} against {losses['one strength']:.4f}")

strengths["tf-idf, one strength"] /= tf_idf.idf_**2  # of the term frequencies
figure, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
numbers, columns = np.unique(n_texts, return_index=True)  # a word for each number of texts
looks = {"one strength": ("#777777", ":"), "tf-idf, one strength": ("#E69F00", "--")}
for name, strength in strengths.items():
    color, dashes = looks.get(name, ("#0072B2", "-"))
    look = {"color": color, "linestyle": dashes, "linewidth": 2}
    ax.loglog(numbers[1:], strength[columns][1:], label=f"{name}: {losses[name]:.3f}", **look)
ax.set(xlabel=f"texts that have the word, of {len(y[train])}", ylabel="strength λ of the word")
ax.legend(title="log-loss on unseen texts")
default = Path(__file__).parent / "figures" / "penalties_by_frequency.png"
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else default)
