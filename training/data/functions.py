"""Functions of one and two numbers, by which regressors are looked at.

All of them take numbers in [-1, 1] to about [-1, 1], without noise: what a regressor
does not know is the function between the points of the training.

Reference:
    [NOMU: Neural Optimization-based Model Uncertainty](
    https://arxiv.org/abs/2102.13640) (Heiss et al., 2022), Section 4.1; those of two
    numbers are standard ones of global optimization, https://www.sfu.ca/~ssurjano/.
"""

import numpy as np

from training.data.number_data import NumberData

TEST_POINTS = 200
_POINTS = {1: 8, 2: 16}  # Of a training, by the number of features.


def _scaled(values, low, high):
    """Returns values of a known range in [-1, 1]."""
    return 2 * (values - low) / (high - low) - 1


def _kink(x):
    return _scaled(np.where(x < 0.4, 2 * x, 2 - 3 * x), -2.0, 0.8)


def _sine_3(x):
    wave = np.sin(np.exp(2.7 * x) + 0.1) * ((x + 1) / 2) ** 0.9
    return (wave / 2 + x / 2 + (x + 1) ** 2 / 4 - 0.7324646) * 2 / 2.46492193


def _forrester(x):
    place = (x + 1) / 2
    values = (6 * place - 2) ** 2 * np.sin(12 * place - 4)
    return _scaled(values, -6.02074, 16 * np.sin(8))


def _levy(x):
    w = 1 + (10 * x - 1) / 4
    values = np.sin(np.pi * w) ** 2 + (w - 1) ** 2 * (1 + np.sin(2 * np.pi * w) ** 2)
    return _scaled(values, 0.0, 15.625)


def branin(a, b):
    """Returns Branin's function of numbers in [-5, 10] and [0, 15]."""
    square = (b - 5.1 / (4 * np.pi**2) * a**2 + 5 / np.pi * a - 6) ** 2
    return square + 10 * (1 - 1 / (8 * np.pi)) * np.cos(a) + 10


def _branin(a, b):
    values = branin(7.5 * (a + 1) - 5, 7.5 * (b + 1))
    return _scaled(values, 0.397887, 308.129096)


def _styblinski(a, b):
    values = sum(x**4 - 16 * x**2 + 5 * x for x in (5 * a, 5 * b)) / 2
    return _scaled(values, -78.332, 250.0)


def _camel(a, b):
    a, b = 2 * a, 2 * b
    values = 2 * a**2 - 1.05 * a**4 + a**6 / 6 + a * b + b**2
    return _scaled(values, 0.0, 148 / 15)


# By name, functions of arrays of shape `(examples,)`, one for each feature.
OF_ONE = {
    "abs": lambda x: np.abs(x - 0.4) * 2 / 1.4 - 1,
    "step": lambda x: np.where(x < 0, 1.0, -1.0),
    "kink": _kink,
    "square": lambda x: 2 * x**2 - 1,
    "cubic": lambda x: x**3,
    "sine1": lambda x: np.sin(10 / (x - 1.2)),
    "sine2": lambda x: np.sin(-5.5 * np.pi * x) / 5 + 0.8 * x,
    "sine3": _sine_3,
    "forrester": _forrester,
    "levy": _levy,
}
OF_TWO = {
    "sphere": lambda a, b: a**2 + b**2 - 1,
    "branin": _branin,
    "styblinski": _styblinski,
    "camel": _camel,
}


def load(
    split: str, data_dir=None, image_size=None, name: str = "abs", seed: int = 0
) -> NumberData:
    """Returns points of a function, uniform in [-1, 1].

    Args:
        split: `"train"`, 8 points of a function of one number and 16 of two; `"test"`,
            200 others.
        data_dir: Not used.
        image_size: Not used.
        name: A key of `OF_ONE` or `OF_TWO`.
        seed: Seed of the points.
    """
    function = OF_ONE.get(name) or OF_TWO[name]
    features = 1 if name in OF_ONE else 2
    counts = {"train": _POINTS[features], "test": TEST_POINTS}
    rng = np.random.default_rng((seed, split != "train"))
    points = rng.uniform(-1, 1, (counts[split], features))
    return NumberData(
        f"function_{name}",
        points,
        function(*points.T),
        source=f"uniform points, seed {seed}",
    )


SETS = (*OF_ONE, *OF_TWO)
