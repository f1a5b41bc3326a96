"""What `benchmarks.regression` compares: regressors, data, and searches."""

import numpy as np

from training.data import functions

STEPS, SEEDS = {"functions": 600, "tables": 1000, "search": 300}, 3
LIKELIHOOD = "gaussian:beta=0.5"
ONES = ("abs", "kink", "sine2", "forrester")
TWOS = ("sphere", "branin")
TABLES = ("diabetes", "friedman1", "friedman2", "friedman3")
DRAWN = "sine2", "kink"
FACTORS = np.geomspace(0.05, 50, 121)  # Of deviations, one for all functions.
CALLS, INITIAL = 20, 5
RESTARTS = 5  # Of the search for the marginal likelihood of the Gaussian process.


def _hartmann(x):
    """Returns the function of Hartmann of six numbers in [0, 1]."""
    a = np.array(
        [
            [10, 3, 17, 3.5, 1.7, 8],
            [0.05, 10, 17, 0.1, 8, 14],
            [3, 3.5, 1.7, 10, 17, 8],
            [17, 8, 0.05, 10, 0.1, 14],
        ]
    )
    p = 1e-4 * np.array(
        [
            [1312, 1696, 5569, 124, 8283, 5886],
            [2329, 4135, 8307, 3736, 1004, 9991],
            [2348, 1451, 3522, 2883, 3047, 6650],
            [4047, 8828, 8732, 5743, 1091, 381],
        ]
    )
    inner = np.sum(a * np.square(x - p), axis=1)
    return float(-np.dot([1.0, 1.2, 3.0, 3.2], np.exp(-inner)))


def _levy(x):
    w = 1 + (x - 1) / 4
    middle = np.square(w[:-1] - 1) * (1 + 10 * np.square(np.sin(np.pi * w[:-1] + 1)))
    last = (w[-1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[-1]) ** 2)
    return float(np.sin(np.pi * w[0]) ** 2 + middle.sum() + last)


# By name: the function, its bounds, and its least value.
SEARCHES = {
    "branin": (
        lambda x: float(functions.branin(*x)),
        [(-5, 10), (0, 15)],
        0.397887,
    ),
    "levy4": (_levy, [(-10, 10)] * 4, 0.0),
    "hartmann6": (_hartmann, [(0, 1)] * 6, -3.32237),
}


def _network(model, **settings):
    def make(steps, batch_size, seed):
        from training.regressor import Regressor

        given = {"num_steps": steps, "batch_size": batch_size, "seed": seed}
        given |= {"objective": LIKELIHOOD, "learning_rate": 3e-3}
        return Regressor(model, **{**given, **settings})

    return make


def _gaussian_process(steps, batch_size, seed):
    try:
        from sklearn import gaussian_process, pipeline, preprocessing
    except ImportError as error:
        raise ImportError(
            "The Gaussian process is that of scikit-learn: pip install scikit-learn"
        ) from error
    kernels = gaussian_process.kernels
    kernel = kernels.ConstantKernel() * kernels.RBF() + kernels.WhiteKernel(1e-3)
    process = gaussian_process.GaussianProcessRegressor(
        kernel, normalize_y=True, n_restarts_optimizer=RESTARTS, random_state=seed
    )
    return pipeline.make_pipeline(preprocessing.StandardScaler(), process)


METHODS = {
    "one network": _network("mlp64x2"),
    "MC dropout": _network("mlp64x2_mcdo10", posterior="mc"),
    "ensemble of 5": _network("mlp64x2", num_members=5),
    "Laplace": _network("mlp64x2", posterior="laplace"),
    "NOMU": _network("mlp64x2_nomu", objective="nomu"),
    "Gaussian process": _gaussian_process,
}
# The deviation of NOMU has no unit until a factor is fitted, on a fifth of the rows.
OF_TABLES = {
    **METHODS,
    "NOMU": _network("mlp64x2_nomu", objective="nomu", calibration=0.2),
}
OF_SEARCHES = {
    "random search": None,
    "Laplace": _network("mlp64x2", posterior="laplace"),
    "NOMU": METHODS["NOMU"],
    "Gaussian process": _gaussian_process,
}
