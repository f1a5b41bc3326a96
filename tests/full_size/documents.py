"""Runs of the commands and examples of README and documentation."""

import dataclasses
import pathlib
import re

from tests.full_size import recipes
from tests.full_size.child import ROOT
from tests.full_size.job import Run, Step
from tests.helpers import markdown

PAGES = sorted((ROOT / "docs").glob("*.md"))
FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
# Commands that take no images, or need what a test has not, and why they are left out.
LEFT_OUT = {
    r"pip |git |cd |export |ls |sudo ": "installs, or moves about",
    r"make (setup|docs|((slow|torch)-)?test|lint|mutate|bench|clean)": "of developers",
    r"make (full-size|real-data|runtimes|neighbors|web)": "of developers",
    r"(zoo-convert|.*\btimm:)": "weights of the zoo's own width, from a network",
    r".*(hf|gs)://": "needs a network",
    r"docker|tensorflow_model_server|curl|python docs/serving": "needs a server",
    r"python -m http": "does not end",
    r"tensorboard": "does not end",
    r"npm ": "installs packages for browsers",
    r"python -m benchmarks(?!\.results)": "measures other libraries",
    r".*--format=(onnx|openvino)": "needs packages that the tests have not",
    r".*=\.\.\.|zoo-(?!.* --(model|package)=)": "is a part of a command",
}
# What stands for something of the reader's, and what it is here.
LINKS = (
    ("path/to/images", "photos"),
    ("clipart", "photos"),
    ("path/to/CamVid", "CamVid"),
    ("runs/seed0", "published/resnet20.fashion_mnist"),
    ("runs/seed1", "published/resnet20.fashion_mnist_seed1"),
    ("path/to/theirs.keras", "theirs.keras"),
    ("path/to/saved_model", "published/resnet20_smooth.fashion_mnist/saved_model"),
)
_TRAIN = "zoo-train --recipe=fashion_mnist --epochs=1"
_FINETUNE = (
    "zoo-train --model=resnet18_smooth_mcdo --recipe=finetune --epochs=1 "
    "--dataset=path/to/images --workdir=path/to/folder"
)
_COPIES = ("copy README.md", "copy docs/results.md", "copy docs/cifar.md")
_PUBLISH = "zoo-publish --nosaved_model"
_EVALUATE = "zoo-evaluate --num_samples=2 --output=runs/others"
# Commands that a page takes as given, run before its own.
BEFORE = {
    "README": _COPIES,
    "usage": (_FINETUNE,),
    "finetune": (_FINETUNE,),
    "CONTRIBUTING": _COPIES,
    "guide": (
        *_COPIES,
        "zoo-evaluate --model=resnet20.fashion_mnist --num_samples=1 "
        "--output=runs/card",
        "python -m benchmarks.results --results=runs/card/rows.jsonl",
        f"{_TRAIN} --model=resnet20 --workdir=runs/resnet20",
    ),
    "weights": (
        *_COPIES,
        f"{_TRAIN} --model=resnet20_smooth --workdir=runs/resnet20_smooth",
        f"{_TRAIN} --model=resnet20 --workdir=runs/a",
        f"{_TRAIN} --model=resnet20 --seed=1 --workdir=runs/b",
        f"{_TRAIN} --model=resnet20 --seed=2 --workdir=runs/c",
        f"{_TRAIN} --model=resnet50_smooth --workdir=runs/d",
        f"{_PUBLISH} --model=resnet20 --weights=runs/a --output=published/a",
        f"{_PUBLISH} --model=resnet20 --weights=runs/b --output=published/b",
        f"{_PUBLISH} --model=resnet20 --weights=runs/c --output=published/c",
        f"{_PUBLISH} --model=resnet50_smooth --weights=runs/d "
        "--output=published/resnet50_smooth",
        f"{_EVALUATE} --model=resnet20_mcdo.fashion_mnist,"
        "resnet20_smooth_mcdo.fashion_mnist",
    ),
}
ON_JAX = "zoo-train", "zoo-evaluate"
MAKE = {"demo": "training.cli.demo", "results": "benchmarks.results"}
# Sets whose number of images a command takes many times over.
MANY = re.compile(r"_c/\*/\*|--suite=|--attack=")
FEW = "--limit=100"
SHORT = "--burnin=5", "--num_results=100"


def runs(backend: str) -> list[Run]:
    """Returns a run for each page that has commands, and one for its examples.

    On JAX they are those of the commands that do not need TensorFlow.
    """
    found = []
    for path in FILES if backend == "tensorflow" else [ROOT / "docs" / "usage.md"]:
        steps = [_cut(words) for words in commands(path)]
        if backend != "tensorflow":
            steps = [_on_jax(step) for step in steps if step.words[0] in ON_JAX]
        if steps:
            before = [Step(tuple(line.split())) for line in BEFORE.get(path.stem, ())]
            found.append(_run(f"commands of {path.stem}", *before, *steps))
        if backend == "tensorflow" and markdown.blocks(path, "python"):
            found.append(
                _run(f"examples of {path.stem}", Step(("examples", str(path))))
            )
    return found


def _run(name, *steps):
    return Run(name, steps, devices=2, links=LINKS, packaged=True)


def _on_jax(step):
    """Returns a step with the distribution that JAX has."""
    ours, theirs = (recipes.DISTRIBUTION[name] for name in ("tensorflow", "jax"))
    words = (word.replace(f"={ours}", f"={theirs}") for word in step.words)
    return dataclasses.replace(step, words=tuple(words))


def _cut(words):
    """Returns the step of a command, with fewer epochs or images if it has many."""
    if words[0] == "make":
        words = ("python", "-m", MAKE[words[1]])
    if words[0] in ("zoo-train", "zoo-compress"):
        return Step((*words, *recipes.EPOCH), "one epoch")
    if words[0] == "zoo-sample":
        return Step((*words, FEW, *SHORT), f"{FEW}, few draws")
    if words[0] == "zoo-evaluate" and MANY.search(" ".join(words)):
        return Step((*words, FEW), FEW)
    return Step(words)


def commands(path: pathlib.Path) -> list[tuple[str, ...]]:
    """Returns the commands of a page that are run; those in the text once a recipe."""
    words = [
        tuple(words)
        for block in markdown.blocks(path, "bash", "sh", "console")
        for words in markdown.commands(block)
    ]
    kinds = {_kind(command) for command in words}
    for command in map(tuple, markdown.inline_commands(path)):
        if _kind(command) not in kinds:
            kinds.add(_kind(command))
            words.append(command)
    return [command for command in words if not why_left_out(command)]


def why_left_out(words) -> str | None:
    """Returns why a command is not run, or None."""
    line = " ".join(words)
    return next((why for like, why in LEFT_OUT.items() if re.match(like, line)), None)


def _kind(words):
    """Returns a command without what does not change the numbers of images."""
    names = r"--(model|seed|workdir|output|epochs|checkpoint_seconds)="
    return frozenset(word for word in words if not re.match(names, word))
