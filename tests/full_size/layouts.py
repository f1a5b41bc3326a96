"""Runs on data sets in other layouts than those of the recipes, and odd sizes."""

from tests.full_size import recipes
from tests.full_size.job import Run, Step

LINKS = (*recipes.LINKS, ("cifar10_c", "cifar10_c"), ("imagenet_c", "imagenet_c"))
# Images that cost less to decode than 224 x 224.
SMALL = "--set=image_size=[32,32]"


def runs(backend: str) -> list[Run]:
    """Returns the runs of a backend."""
    found = [_photos(backend), _cifar(backend), _imagenet()]
    return [Run(name, steps, 2, links=LINKS) for name, steps in found]


def _steps(*lines, **options):
    return tuple(Step(tuple(line.split()), **options) for line in lines)


def _photos(backend):
    """From a folder of 523 + 57 images to all that can be made of a training."""
    train = f"zoo-train --recipe=finetune --dataset=images {SMALL}"
    begin, other = f"{train} --model=resnet18_mcdo", f"{train} --model=resnet18_smooth"
    weights = "--model=resnet18_mcdo --weights=run"
    lines = [
        f"{begin} --workdir=run {' '.join(recipes.EPOCH)}",
        f"{other} --weights=run --update_batch_statistics --workdir=other --epochs=2",
        f"zoo-evaluate {weights} --dataset=images --output=evaluation",
        f"zoo-evaluate {weights} --dataset=images --num_samples=1 --calibrate=300 "
        "--output=calibrated",
        f"zoo-evaluate {weights} --dataset=images --num_samples=2 --suite=ovadia "
        "--output=suite",
    ]
    made = [
        f"zoo-publish {weights} --dataset=images --data_license=mit "
        "--results=evaluation/rows.jsonl --output=published",
        f"zoo-export {weights} --format=tflite --quantization=int8 "
        "--calibration=images --output=model.tflite",
        f"zoo-export {weights} --format=saved_model --output=saved/1",
    ]
    return "photos", _steps(*lines, *(made if backend == "tensorflow" else ()))


def _cifar(backend):
    """CIFAR-10 as TensorFlow Datasets prepares it, and CIFAR-10-C as published."""
    weights = "--model=resnet20_mcdo --weights=run"
    lines = [
        f"zoo-train --recipe=cifar10 --model=resnet20_mcdo --workdir=run "
        f"{' '.join(recipes.EPOCH)}",
        f"zoo-evaluate {weights} --dataset=cifar10 --ood=cifar10_rotation/90 "
        "--num_samples=1,2 --calibrate=5000 --output=evaluation",
        f"zoo-evaluate {weights} --num_samples=2 "
        "--dataset=cifar10_c/fog/*,cifar10_c/jpeg_compression/* "
        "--data_dir=cifar10_c --output=corrupted",
    ]
    made = [
        f"zoo-publish {weights} --data_license=mit --output=published",
        f"zoo-export {weights} --format=tflite --quantization=int8 "
        "--calibration=cifar10 --output=model.tflite",
    ]
    return "cifar10 prepared", _steps(
        *lines, *(made if backend == "tensorflow" else ())
    )


def _imagenet():
    """ImageNet by its index; its training is interrupted, and goes on."""
    train = (
        f"zoo-train --recipe=finetune --dataset=imagenet2012 --model=resnet18 {SMALL}"
    )
    long = f"{train} --workdir=long --checkpoint_seconds=0"
    steps = (
        *_steps(f"{train} --limit=160 --workdir=run {' '.join(recipes.EPOCH)}"),
        *_steps(long, stop_after=3),
        *_steps(long, stop_after=6),
    )
    weights = "--model=resnet18 --weights=run --num_samples=1"
    return "imagenet", (
        *steps,
        *_steps(
            f"zoo-evaluate {weights} --dataset=imagenet2012 --output=evaluation",
            f"zoo-evaluate {weights} --dataset=imagenet2012_c/fog/3_size/32 "
            "--data_dir=imagenet_c --output=corrupted",
        ),
    )
