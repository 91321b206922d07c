"""Insurance: claims of policies that were watched for different times.

The logarithm of the exposure is an offset, a known part of every prediction: coefficients are then
about yearly rates. Without it a model is worse than one rate for all. A strength for each variable
leaves the regions, which differ, freer than the models of cars, which are as many and hardly do;
one strength has to be a compromise."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import mean_poisson_deviance

import fasthoag
from fasthoag.datasets import make_claims

X, y, exposure, variables = make_claims(40_000, random_state=0)
train, unseen = slice(0, 20_000), slice(20_000, None)
offset = np.log(exposure)

one_rate = y[train].sum() / exposure[train].sum()
expected = {"one rate for all": one_rate * exposure[unseen]}

model = fasthoag.PoissonRegressorCV().fit(X[train], y[train])
expected["model without exposure"] = model.predict(X[unseen])

model = fasthoag.PoissonRegressorCV().fit(X[train], y[train], offset=offset[train])
expected["with exposure"] = model.predict(X[unseen], offset=offset[unseen])

model = fasthoag.PoissonRegressorCV(penalty_per=variables)
model.fit(X[train], y[train], offset=offset[train])
expected["and a strength for each variable"] = model.predict(X[unseen], offset=offset[unseen])

deviances = {name: mean_poisson_deviance(y[unseen], one) for name, one in expected.items()}
for name, deviance in deviances.items():
    print(f"{name}: deviance {deviance:.4f}")
ours, theirs = deviances["and a strength for each variable"], deviances["one rate for all"]
print(f"result: fasthoag {ours:.4f} against {theirs:.4f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
rates = expected["and a strength for each variable"] / exposure[unseen]
tenths = np.array_split(np.argsort(rates), 10)  # policies by what the model expects of them
years = [exposure[unseen][rows].sum() for rows in tenths]
seen = [y[unseen][rows].sum() / t for rows, t in zip(tenths, years, strict=True)]
said = [rates[rows] @ exposure[unseen][rows] / t for rows, t in zip(tenths, years, strict=True)]
left.plot(range(1, 11), seen, "o", color="#D55E00", label="happened")
left.plot(range(1, 11), said, "-", color="#0072B2", label="expected by the model")
left.axhline(one_rate, color="#777777", linestyle=":", label="one rate for all")
left.set(xlabel="tenths of the unseen policies, by expected rate", ylabel="claims in a year")
left.set(xticks=range(1, 11), ylim=(0, None))
left.legend()
fasthoag.plots.strengths(model.hoag_result_, names=np.unique(variables), ax=right)
right.set_xlabel("strength λ of the levels of a variable")
default = Path(__file__).parent / "figures" / "insurance_counts.png"
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else default)
