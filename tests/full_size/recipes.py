"""Runs of every recipe on one to eight devices."""

import dataclasses
import pkgutil

from tests.full_size.job import Run, Step
from training import recipes

# By backend. On JAX the recipes' batches must be multiples of the number, and its
# program is the same on any.
DEVICES = {"tensorflow": (1, 2, 3, 4, 8), "jax": (1, 8)}
DISTRIBUTION = {"tensorflow": "mirrored", "jax": "data_parallel"}
# Of these, the number with `--mixed_precision` and the one that is resumed.
SOME = {"tensorflow": 3, "jax": 8}
# Recipes that have the numbers of images and the batches of another one, so that one
# number of devices tells all.
LIKE = {
    "cifar100": "cifar10",
    "cifar10_30": "cifar10",
    "cifar10_augmix": "cifar10",
    "cifar10_compress": "cifar10",
    "cifar100_compress": "cifar10",
    "cifar10_finetune": "cifar10",
    "cifar10_fgsm": "cifar10",
    "stf_finetune": "cifar10",
    "fashion_mnist_64": "fashion_mnist",
    "fashion_mnist_compress": "fashion_mnist",
    "fashion_mnist_duq": "fashion_mnist",
}
# The schedules of the recipes are much longer.
EPOCH = ("--epochs=1",)
# Where the images are, for those that are not found by themselves.
PLACES = {
    "cifar": "--data_dir=inputs",
    "camvid": "--data_dir=inputs",
    "stf": "--data_dir=inputs",
    "finetune": "--dataset=images",
}
LINKS = (("inputs", "."), ("images", "photos"))
# Networks that are made for images of 64 pixels and more, for one recipe, or for an
# objective.
MODELS = {
    "camvid": "unet16_mcdo50",
    "finetune": "resnet18_smooth",
    "fashion_mnist_64": "resnet50_smooth",
    "fashion_mnist_duq": "resnet20_duq",
    "stf_finetune": "resnet20_stf",
}


def names() -> list[str]:
    """Returns all recipes."""
    found = [module.name for module in pkgutil.iter_modules(recipes.__path__)]
    return [name for name in found if name != "base"]


def runs(backend: str) -> list[Run]:
    """Returns the runs of all recipes."""
    return [run for name in names() for run in _recipe(name, backend)]


def _recipe(name, backend):
    """Yields the runs of a recipe on all numbers of devices."""
    some = SOME[backend]
    if name in LIKE:
        yield dataclasses.replace(_trained(name, backend, some), like=None)
        return
    for devices in DEVICES[backend]:
        yield _trained(name, backend, devices)
    yield _trained(name, backend, some, half=True)
    whole = _trained(name, backend, some)
    stopped = (*whole.steps[0].words, "--checkpoint_seconds=0")
    yield Run(
        f"{name} resumed {whole.devices}",
        (Step(stopped, "one epoch", stop_after=5), Step(stopped, "one epoch")),
        whole.devices,
        like=whole.name,
        exact=True,
        validated=True,
        links=LINKS,
    )
    if name == "fashion_mnist":
        yield Run(
            f"{name} all updates {whole.devices}",
            (Step(whole.steps[0].words, "one epoch", whole=True),),
            whole.devices,
            validated=True,
            links=LINKS,
        )


def _trained(name, backend, devices, half=False):
    """Returns the run of a training."""
    model = MODELS.get(name, "resnet20_smooth")
    places = [place for like, place in PLACES.items() if name.startswith(like)]
    words = (
        f"zoo-train --recipe={name} --model={model} --workdir=run".split()
        + places
        + ["--mixed_precision"] * half
        + [f"--distribution={DISTRIBUTION[backend]}"] * (devices > 1)
    )
    kind = f"{name} mixed" if half else name
    return Run(
        f"{kind} {devices}",
        (Step((*words, *EPOCH), "one epoch"),),
        devices,
        like=f"{name} {devices if half else 1}" if devices > 1 else None,
        half=half,
        validated=True,
        links=LINKS,
    )
