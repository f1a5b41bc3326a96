"""From the folder of a training to a published one, with all that is checked."""

import dataclasses
import os
from collections.abc import Sequence

import zoo
from training import data, metrics, report, task
from training.data import fingerprint
from training.evaluation import adaptation
from training.publishing import half_precision
from zoo import finding, presets
from zoo.posterior import POSTERIORS, DeepEnsemble
from zoo.presets import index, snapshots, training_images
from zoo.publishing import publish, training_record
from zoo.registry import split_posterior


def publish_training(
    name: str,
    weights: str | os.PathLike,
    output: str | os.PathLike,
    results: Sequence[str | os.PathLike] = (),
    dtype: str = half_precision.DTYPE,
    dataset: str | None = None,
    data_dir: str | None = None,
    saved_model: bool = True,
    num_samples: int = 10,
    **licenses: str | None,
) -> presets.Preset:
    """Publishes the weights of a training.

    Args:
        name: Name of the model; its tag is by default that of the data set, and of the
            seed if that is not zero. A posterior in it, as in `resnet20@temperature`,
            or `resnet20@laplace:subset=all`, adapts to the images of the training that
            it is for, and is published with the weights.
        weights: The folder of the training, or the weights file in it. For a posterior
            of several networks, such as `mixture`, those of several trainings of the
            model joined by `+`; the first is the one of the name.
        output: Folder to write, a path or a URL; one that was published before is
            replaced.
        results: Files of rows. Those of this training are under its name, and those of
            trainings with other seeds under theirs.
        dtype: Type of the published weights, `"float16"`, if the accuracy on the test
            images stays, or `"float32"`, of which those of regressors are.
        dataset: Name of the test images, by default of those of the training.
        data_dir: Where the data lie; see `training.data.load`.
        saved_model: Whether to write a SavedModel, which is that of the posterior if
            there is one; not of a regressor.
        num_samples: Forward passes of a posterior of a stochastic model.
        **licenses: `license` of the weights and `data_license` of the training data, as
            for `zoo.publishing.publish.publish`.

    Raises:
        ValueError: If something does not fit together, or rounding costs accuracy.
        FileNotFoundError: If there is no record of the training.
        FileExistsError: If there is something else in the folder.
    """
    of_models, posterior = split_posterior(name)
    paths = finding.places(weights)
    if posterior is None and len(paths) > 1 and os.path.exists(weights):
        posterior, name = "ensemble", f"{name}@ensemble"
    several = len(paths) > 1
    if "+" in of_models or (several and posterior is None):
        raise ValueError(
            "An ensemble has no training of its own: publish each member, and give the "
            "published names joined by `+` to `zoo-evaluate` or `zoo-export`. Or "
            "publish all of them as one, by --model=resnet20@ensemble or "
            "--model=resnet20@mixture, and --weights=runs/a+runs/b. "
            f"Received: model={name}, weights={os.fspath(weights)}"
        )
    records = [training_record.read(path) for path in paths]
    record, asked = records[0], zoo.parse(name)
    _check_alike(records, paths)
    spec = _tagged(asked.of_model, record)
    models = [zoo.load(spec, weights=path) for path in paths]
    model = models[0]
    rows = [row for path in results for row in report.read_rows(path)]
    found = None
    if dtype == half_precision.DTYPE and task.of(model).name in half_precision.TASKS:
        test = _test_images(record, dataset, data_dir, model.input_shape[1:3])
        found, *_ = [half_precision.round_weights(one, test) for one in models]
    export = None
    if saved_model and task.of(model).name in half_precision.TASKS:
        # TensorFlow's; the rest runs on other backends too.
        from training.export import export_saved_model as export
    adapted, members = {}, []
    if kind := asked.posterior:
        settings = {"num_samples": num_samples}
        settings |= POSTERIORS[kind].parse_settings(asked.settings)
        own, entry = _adapted(kind, models, settings, record, weights, data_dir)
        adapted[kind] = own, entry
        # Of snapshots what was learned is all.
        members = [] if own.takes_snapshots else models[1:]
    return publish.publish(
        model,
        output,
        record,
        rows,
        export=export,
        rounding=found,
        metrics=metrics.CARD,
        seen=training_images.beside(paths[0]),
        posteriors=adapted,
        members=members,
        **licenses,
    )


def _check_alike(records, paths):
    """Checks that trainings are of one model and the same classes."""
    first, *others = [
        (record["model"], record["dataset"], tuple(record["classes"]))
        for record in records
    ]
    for path, other in zip(paths[1:], others, strict=True):
        if other != first:
            raise ValueError(
                "The networks of a posterior must be of one model, data set and list "
                f"of classes: the first is '{first[0]}' for '{first[1]}'. Received: "
                f"weights={path}, of '{other[0]}' for '{other[1]}'"
            )


def _adapted(kind, models, settings, record, weights, data_dir):
    """Returns an adapted posterior of models, and what is written of it."""
    model, own = models[0], POSTERIORS[kind].from_models(models, **settings)
    if own.takes_snapshots and len(models) == 1:
        own.collect(snapshots.models(model, weights))
    if not own.values() and isinstance(own, DeepEnsemble) and len(models) > 1:
        whole = {"dataset": record["dataset"], "images": 0}
        return own, {"settings": {}, **whole}
    if not own.values():
        raise ValueError(
            f"The posterior '{kind}' learns nothing that could be published with the "
            f"weights. Received: model={model.name}@{kind}"
        )
    of_data = record.get("data") or {}
    dataset = of_data.get("path") or record["dataset"]
    where = data_dir or of_data.get("data_dir")
    if own.is_adapted:  # By the samples of the weights that it is made of.
        facts = {"dataset": record["dataset"], "images": record["seen"]["images"]}
    else:
        found = adaptation.adapt(own, model.name, weights, dataset, data_dir=where)
        facts = {"dataset": found.name, "images": len(found.labels)}
    if not (own.draws or own.num_samples > 1):
        del settings["num_samples"]
    return own, {"settings": settings, **facts}


def _tagged(spec, record):
    """Returns a name with a tag, which is not that of other data."""
    if spec.tag:
        return spec
    stem, name = spec.stem, training_record.default_name(spec.stem, record)
    if training_record.is_of_folder(record) and name in index.read(results=False):
        raise ValueError(
            f"'{name}' are the weights of another data set, and this training was of "
            f"images in a folder of that name; give a tag, such as {stem}.mine. "
            f"Received: model={stem}"
        )
    return dataclasses.replace(spec, tag=name.removeprefix(f"{stem}."))


def _test_images(record, dataset, data_dir, image_size):
    """Returns the test images of a training, or those that are asked for."""
    of_data = record.get("data") or {}
    name = dataset or of_data.get("path") or record["dataset"]
    data_dir = data_dir or of_data.get("data_dir")
    try:
        test = data.load(name, "test", data_dir, image_size)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"The test images of the training are not found; say where they are by "
            f"`--dataset` and `--data_dir`. {error}"
        ) from error
    known = of_data.get("test")
    if not dataset and known and known != fingerprint.of_data(test):
        raise ValueError(
            f"The test images of '{name}' are not those of the training any more, by "
            "their content; name others by `--dataset`, which then count."
        )
    return test
