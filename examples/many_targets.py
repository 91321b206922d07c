"""Many targets: a strength for each, in the time of one for all.

How cells respond to two hundred drugs depends on their genes, for some drugs closely and for most
hardly at all. One strength for all of them is too strong for the first and too weak for the others.
`RidgeCV(alpha_per_target=True)` finds one for each drug, from factors that all of them share."""

import sys
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import r2_score

import fasthoag
from fasthoag.datasets import make_genes

rng = np.random.default_rng(0)
X, _, _ = make_genes(1500, 1000, n_groups=50, random_state=0)
known = X @ rng.normal(size=(1000, 200))
known /= known.std(axis=0)
share = rng.beta(0.5, 1.0, 200)  # of the variance of a response that the genes explain
Y = np.sqrt(share) * known + np.sqrt(1 - share) * rng.normal(size=known.shape)
train, unseen = slice(0, 500), slice(500, None)

scores = {}
for name, model in {
    "one strength for all": fasthoag.RidgeCV(cv=5),
    "a strength for each target": fasthoag.RidgeCV(cv=5, alpha_per_target=True),
}.items():
    began = perf_counter()
    model.fit(X[train], Y[train])
    seconds = perf_counter() - began
    scores[name] = r2_score(Y[unseen], model.predict(X[unseen]), multioutput="raw_values")
    print(f"{name}: mean R² {scores[name].mean():.3f}, {seconds:.2f} s")
one, each = scores.values()
print(f"result: fasthoag {each.mean():.4f} against {one.mean():.4f}")

figure, ax = plt.subplots(figsize=(6, 4.6), layout="constrained")
dots = ax.scatter(one, each, c=np.log10(model.alpha_), s=14, vmin=0, vmax=6)
figure.colorbar(dots, label="log₁₀ of the strength of the target", extend="both")
ends = [min(one.min(), each.min()), each.max()]
ax.plot(ends, ends, color="#777777", linewidth=1, zorder=0, label="as good")
ax.set(xlabel="R² with one strength for all", ylabel="R² with a strength for each target")
ax.legend()
default = Path(__file__).parent / "figures" / "many_targets.png"
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else default)
