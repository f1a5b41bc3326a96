#!/usr/bin/env bash
# scikit-learn's temperature scaling, `CalibratedClassifierCV(method="temperature")`,
# decides by the values whether `predict_proba` gave probabilities: if a single row
# misses a sum of 1 by more than a rounding error of float32, all rows are taken for
# logits. Probabilities that were stored as float16, or with four decimals, are. Nothing
# is said, and the classifier is worse calibrated than without scaling.
#
# Versions: scikit-learn 1.9.0. 4,000 examples, 10 classes, logits twice as large as
# they should be, so that the right temperature is 2.
# Seen: temperature 2.05 and NLL 0.97 from float64 and float32; temperature 0.26 and NLL
# 1.22 from float16 and from four decimals. Unscaled the NLL is 1.23. Exits with 1 if
# that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet scikit-learn==1.9.0
cd "$folder"
env/bin/python - <<'PYTHON'
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator


class Stored(ClassifierMixin, BaseEstimator):
    """Gives back probabilities in the precision in which they were stored."""

    classes_ = np.arange(10)

    def __init__(self, dtype="float64", decimals=16):
        self.dtype, self.decimals = dtype, decimals

    def fit(self, X, y):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def predict_proba(self, X):
        stored = np.asarray(X).round(self.decimals).astype(self.dtype)
        return stored.astype("float64")

    def predict(self, X):
        return self.predict_proba(X).argmax(axis=1)


def softmax(logits):
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)


rng = np.random.default_rng(0)
logits = rng.normal(scale=3, size=(4000, 10))
labels = np.array([rng.choice(10, p=row) for row in softmax(logits)])
confident = softmax(2 * logits)


def scaled(**stored):
    """Returns temperature and NLL."""
    calibrated = CalibratedClassifierCV(
        FrozenEstimator(Stored(**stored)), method="temperature"
    ).fit(confident, labels)
    beta = calibrated.calibrated_classifiers_[0].calibrators[0].beta_
    probs = calibrated.predict_proba(confident)
    return float(1 / beta), -np.log(probs[np.arange(4000), labels]).mean()


for stored in ({}, {"dtype": "float32"}):
    temperature, nll = scaled(**stored)
    print(stored, f"temperature {temperature:.3f}, NLL {nll:.3f}")
    assert 1.9 < temperature < 2.2
for stored in ({"dtype": "float16"}, {"decimals": 4}):
    temperature, nll = scaled(**stored)
    print(stored, f"temperature {temperature:.3f}, NLL {nll:.3f}")
    assert temperature < 0.5
    assert nll > 1.15
PYTHON
