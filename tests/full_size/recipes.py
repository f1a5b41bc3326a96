"""Runs of every recipe on one to eight devices."""

import pkgutil

from tests.full_size.job import Run, Step
from training import recipes

# By backend; `zoo-train` distributes with TensorFlow alone.
DEVICES = {"tensorflow": (1, 2, 3, 4, 8), "jax": (1,)}
HALF = (1, 3)  # Of these, the ones with `--mixed_precision` too.
# The schedules of the recipes are much longer.
EPOCH = ("--epochs=1",)
# Where the images are, for those that are not found by themselves.
PLACES = {"cifar": "--data_dir=inputs", "finetune": "--dataset=images"}
LINKS = (("inputs", "."), ("images", "photos"))
# Networks that are made for images of 64 pixels and more.
MODELS = {"finetune": "resnet18_smooth", "fashion_mnist_64": "resnet50_smooth"}


def names() -> list[str]:
    """Returns all recipes."""
    found = [module.name for module in pkgutil.iter_modules(recipes.__path__)]
    return [name for name in found if name != "base"]


def runs(backend: str) -> list[Run]:
    """Returns the runs of all recipes."""
    return [run for name in names() for run in _recipe(name, DEVICES[backend])]


def _recipe(name, counts):
    """Yields the runs of a recipe on these numbers of devices."""
    whole = _trained(name, 3 if 3 in counts else 1)
    for half in (False, True):
        for devices in counts:
            if not half or devices in HALF:
                yield _trained(name, devices, half)
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


def _trained(name, devices, half=False):
    """Returns the run of a training."""
    model = MODELS.get(name, "resnet20_smooth")
    places = [place for like, place in PLACES.items() if name.startswith(like)]
    words = (
        f"zoo-train --recipe={name} --model={model} --workdir=run".split()
        + places
        + ["--mixed_precision"] * half
        + ["--distribution=mirrored"] * (devices > 1)
    )
    kind = f"{name} mixed" if half else name
    return Run(
        f"{kind} {devices}",
        (Step((*words, *EPOCH), "one epoch"),),
        devices,
        like=f"{kind} 1" if devices > 1 else None,
        half=half,
        validated=True,
        links=LINKS,
    )
