"""Genes: two thousand features, two hundred samples, and a strength for each pathway.

One strength for all genes has to be weak enough for those that count and strong enough for the
others. With a strength for each pathway the evidence, which needs no held-out rows where there are
few, takes out the pathways without effect, and the rest is fitted better."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn import linear_model
from sklearn.metrics import r2_score

import fasthoag
from fasthoag.datasets import make_genes

X, y, groups = make_genes(1200, 2000, n_groups=10, n_informative=2, random_state=0)
train, unseen = slice(0, 200), slice(200, None)

problem = fasthoag.Problem(X[train], y[train], "squared", penalty=fasthoag.GroupRidge(groups))
result = fasthoag.hoag(problem, fasthoag.Evidence())
coef, intercept = result.w[:-1, 0], result.w[-1, 0]
ours = r2_score(y[unseen], X[unseen] @ coef + intercept)

ridge = linear_model.RidgeCV(np.logspace(-3, 6, 50)).fit(X[train], y[train])
theirs = ridge.score(X[unseen], y[unseen])
print(f"one strength, the best of 50 by leave-one-out: R² {theirs:.3f}")
print(f"a strength for each pathway, by the evidence: R² {ours:.3f}")
print(f"result: fasthoag {ours:.3f} against {theirs:.3f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
names = [f"pathway {k}" + " (has an effect)" * (k < 2) for k in range(10)]
fasthoag.plots.strengths(result, problem, names=names, ax=left)
for name, w, shift, color in (
    ("a strength for each pathway", coef, -0.2, "#0072B2"),
    ("one strength", ridge.coef_, 0.2, "#BBBBBB"),
):
    sizes = np.sqrt(np.bincount(groups, w**2))
    right.bar(np.arange(10) + shift, sizes, 0.4, color=color, label=name)
right.set(xlabel="pathway", ylabel="2-norm of its coefficients", xticks=range(10))
right.legend()
default = Path(__file__).parent / "figures" / "genes.png"
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else default)
