"""Names are looked at before Keras and TensorFlow are imported, which takes seconds."""

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterable

from absl import logging

from training import recipes


def check(
    models: Iterable[str] = (),
    datasets: Iterable[str] = (),
    data_dir: str | None = None,
    recipe: str | None = None,
    output: str | None = None,
    analyses: Iterable[str] = (),
):
    """Checks the names that a command was given, then imports the zoo.

    What it does not know for sure to be wrong is left to what takes the names.

    Args:
        models: Names of models, also with posteriors and of ensembles. Files, folders
            and URLs are not looked at.
        datasets: Names of data sets and patterns of them, as `training.data.expand`
            takes them.
        data_dir: Folder that holds the data sets.
        recipe: Name of a recipe.
        output: Folder for results, a path or a URL.
        analyses: Names of analyses.

    Raises:
        ValueError: If a name is unknown, or nothing can be written to such a URL.
        FileNotFoundError: If a data set is a folder that is not there.
    """
    with _without_keras():
        if recipe is not None:
            recipes.check(recipe)
        if output is not None:
            from zoo.storage import urls

            urls.check_writable(output)
            if urls.is_in_memory(output):
                logging.warning(
                    "'%s' is memory of this process, so what is written there is gone "
                    "when the command ends.",
                    output,
                )
        _check_models(models)
        _check_analyses(analyses)
        if datasets := list(filter(None, datasets)):
            from training.data import expand, loading

            names = [name for pattern in datasets for name in expand(pattern)]
            loading.check_names(names, data_dir)


def _check_models(names):
    from training.cli import tables
    from training.runtimes import places
    from zoo import model_name
    from zoo.storage import urls

    def is_elsewhere(name):
        is_file = name.endswith(".keras") or os.path.exists(name)
        return is_file or urls.is_url(name) or places.is_place(name)

    words = tables.words()
    for name in names if words else ():
        of_models, _ = model_name.split_posterior(name, words.posteriors)
        for part in () if is_elsewhere(name) else of_models.split("+"):
            if not is_elsewhere(part):
                model_name.read(model_name.split_number(part)[0], words)


def _check_analyses(names):
    from training.cli import tables
    from zoo import spelling

    known = tables.analyses()
    for name in names if known else ():
        if name not in known:
            raise ValueError(
                f"Unknown analysis '{name}'.{spelling.hint(name, known)} Known: "
                f"{', '.join(known)}. Received: what={name}"
            )


@contextlib.contextmanager
def _without_keras():
    """Lets modules of `zoo` that need no Keras be imported without the package.

    The package itself runs at the end, unless there is an error.
    """
    if "zoo" in sys.modules:
        yield
        return
    spec = importlib.util.find_spec("zoo")
    sys.modules["zoo"] = package = importlib.util.module_from_spec(spec)
    try:
        yield
        spec.loader.exec_module(package)
    except BaseException:
        del sys.modules["zoo"]
        raise
