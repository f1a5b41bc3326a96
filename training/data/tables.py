"""Tables with a number to predict: those of scikit-learn, divided here."""

from training.data.number_data import NumberData, split

_POINTS, _NOISE = 1000, {"friedman1": 1.0, "friedman2": 125.0, "friedman3": 0.1}


def _datasets(name):
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            f"The data set {name} is that of scikit-learn: pip install scikit-learn"
        ) from error
    return datasets


def diabetes(wanted: str, data_dir=None, image_size=None) -> NumberData:
    """Returns the 442 patients of scikit-learn, ten features and their disease after.

    Reference:
        [Least Angle Regression](https://arxiv.org/abs/math/0406456) (Efron et al.,
        2004).
    """
    found = _datasets("diabetes").load_diabetes(scaled=False)
    columns = tuple(found.feature_names)
    data = NumberData(
        "diabetes", found.data, found.target, columns=columns, source="scikit-learn"
    )
    return split(data, wanted)


def california_housing(wanted: str, data_dir=None, image_size=None) -> NumberData:
    """Returns the 20,640 districts of California, as scikit-learn downloads them.

    Args:
        wanted: `"train"`, `"test"` or `"all"`.
        data_dir: Where scikit-learn keeps them.
        image_size: Not used.

    Raises:
        FileNotFoundError: If they are not there and cannot be downloaded.
    """
    datasets = _datasets("california_housing")
    try:
        found = datasets.fetch_california_housing(data_home=data_dir)
    except OSError as error:
        raise FileNotFoundError(
            "California housing is downloaded by scikit-learn, which did not work "
            f"({error}); name a .csv file of it as the data set."
        ) from error
    data = NumberData(
        "california_housing",
        found.data,
        found.target,
        columns=tuple(found.feature_names),
        source="scikit-learn",
    )
    return split(data, wanted)


def friedman(wanted: str, data_dir=None, image_size=None, name="friedman1"):
    """Returns 1,000 points of one of Friedman's problems, with noise.

    The standard deviations of the noise are 1, 125 and 0.1, with which the second and
    the third problem have a ratio of signal to noise of 3.

    Reference:
        [Multivariate Adaptive Regression Splines](
        https://doi.org/10.1214/aos/1176347963) (Friedman, 1991); [Bagging Predictors](
        https://doi.org/10.1007/BF00058655) (Breiman, 1996), for the noise.
    """
    make = getattr(_datasets(name), f"make_{name}")
    features, targets = make(_POINTS, noise=_NOISE[name], random_state=0)
    return split(
        NumberData(name, features, targets, source="made by scikit-learn"), wanted
    )


FRIEDMAN = ("friedman1", "friedman2", "friedman3")
