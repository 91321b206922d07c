"""Label noise: a weight for every row, learned on a few rows whose labels are right.

Almost four in ten of a thousand labels are wrong. One hypergradient says how the loss on 150 clean
rows changes with the weight of each of the thousand: rows that hurt lose theirs. The model is
better than one of all rows with equal weights, and than one of the clean rows alone, and the
weights say which labels to look at."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

import fasthoag

rng = np.random.default_rng(0)
images, digits = load_digits(return_X_y=True)
order = rng.permutation(len(digits))
X, truth = images[order] / 16, digits[order]
train, clean, unseen = slice(0, 1000), slice(1000, 1150), slice(1150, None)
y = np.where(rng.random(len(truth)) < 0.4, rng.integers(10, size=len(truth)), truth)
y[clean] = truth[clean]
is_wrong = y[train] != truth[train]
print(f"wrong labels: {is_wrong.sum()} of {len(is_wrong)}")


def errors(w):
    """The share of unseen rows that coefficients (n_features + 1, 10) take for another digit."""
    return np.mean((X[unseen] @ w[:-1] + w[-1]).argmax(axis=1) != truth[unseen])


alike = {}
for name, rows in (("clean rows only", clean), ("all rows alike", slice(0, 1150))):
    model = fasthoag.LogisticRegressionCV(cv=5).fit(X[rows], y[rows])
    alike[name] = errors(np.vstack([model.coef_.T, model.intercept_]))
    print(f"{name}: {alike[name]:.1%} errors")

judge = fasthoag.HeldOut(X[clean], truth[clean])
one = fasthoag.hoag(fasthoag.Problem(X[train], y[train], "multinomial"), judge)
strength = fasthoag.Fixed(fasthoag.Ridge(), one.theta)
problem = fasthoag.Problem(
    X[train], y[train], "multinomial", penalty=strength, tuned=[fasthoag.SampleWeights()]
)
result = fasthoag.hoag(problem, judge)
weights = problem.read(result.theta)["sample_weights"]
ours = errors(result.w[:, 0])
print(f"a weight for every row: {ours:.1%} errors")
print(f"wrong labels by their weights: AUC {roc_auc_score(is_wrong, -weights):.3f}")
print(f"result: fasthoag {ours:.4f} against {alike['all rows alike']:.4f}")

figure = plt.figure(figsize=(9, 3.6), layout="constrained")
left, right = figure.subfigures(1, 2)
ax = left.subplots()
for name, rows, color in (("right", ~is_wrong, "#0072B2"), ("wrong", is_wrong, "#D55E00")):
    label = f"label is {name} ({rows.sum()})"
    ax.hist(weights[rows], np.linspace(0, 1, 26), color=color, alpha=0.7, label=label)
ax.set(xlabel="learned weight", ylabel="rows")
ax.legend(loc="upper center")
right.suptitle("labels of the least weight: given → true", fontsize="medium")
for ax, i in zip(right.subplots(3, 6).ravel(), np.argsort(weights), strict=False):
    ax.imshow(X[i].reshape(8, 8), cmap="gray_r")
    color = "#D55E00" if is_wrong[i] else "#0072B2"
    ax.set_title(f"{y[i]} → {truth[i]}", fontsize="small", color=color)
    ax.axis("off")
default = Path(__file__).parent / "figures" / "label_noise.png"
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else default)
