r"""Analyzes trained networks: feature maps, frequencies, similarity, lesions.

Example:

    zoo-analyze --model=resnet20.cifar10 --model=resnet20_smooth.cifar10 \
        --dataset=cifar10 --data_dir=data --what=features,fourier,similarity \
        --output=runs/why

The same command resumes where it was interrupted.
"""

import dataclasses

from absl import flags, logging

from training.cli import common, names

flags.DEFINE_multi_string(
    "model",
    [],
    "Model to analyze: a name, a .keras file, or the folder of a training, e.g. "
    "resnet20.cifar10; may be repeated, or several with commas.",
)
flags.DEFINE_multi_string(
    "weights",
    [],
    "Weights of each model, in the same order, e.g. runs/a,runs/b: a path or nothing.",
)
flags.DEFINE_string(
    "sweep", None, "Folder of several trainings, for analyses of these, e.g. runs/grid."
)
flags.DEFINE_list(
    "what",
    "features,fourier",
    "Analyses to make, e.g. features,lesions; similarity and connectivity compare each "
    "two models.",
)
flags.DEFINE_string(
    "dataset", "fashion_mnist", "Data set whose images are looked at, e.g. cifar10."
)
flags.DEFINE_integer(
    "limit",
    1000,
    "Number of images to use, of each class its share, e.g. 500.",
    lower_bound=1,
)
flags.DEFINE_integer(
    "batch_size",
    None,
    "Number of images in a batch, e.g. 50; default: that of each analysis.",
    lower_bound=1,
)
flags.DEFINE_multi_string(
    "set",
    [],
    "Settings of an analysis, e.g. fourier:noise=20:width=0.2; may be repeated.",
)
flags.DEFINE_integer("seed", 0, "Seed of all that is drawn.", lower_bound=0)
flags.DEFINE_string("data_dir", None, "Folder that holds the data sets, e.g. data.")
flags.DEFINE_string(
    "output",
    None,
    "Folder to write rows, arrays, figures and the report to, e.g. runs/why or "
    "gs://bucket/why.",
    required=True,
)
flags.DEFINE_enum("outputs", "logits", ["logits", "probs"], "What .keras files return.")
flags.DEFINE_list(
    "input_range", "0,255", "Range of pixel values that .keras files take, e.g. 0,1."
)
flags.DEFINE_list(
    "classes",
    "",
    "Class names of .keras files, in order, e.g. cat,dog, or a file with one a line.",
)


def main():
    """Analyzes the models, and says where the files lie."""
    given = flags.FLAGS
    models = _parts(given.model)
    names.check(
        models,
        [given.dataset],
        given.data_dir,
        output=given.output,
        analyses=given.what,
    )
    from training.analysis import command

    fields = [field.name for field in dataclasses.fields(command.Settings)]
    values = {name: given[name].value for name in fields if name in given}
    values |= {"model": models, "weights": _parts(given.weights)}
    logging.set_verbosity(max(logging.get_verbosity(), logging.INFO))
    settings = command.Settings(**values, changes=given["set"].value)
    page, rows, *figures = command.run(settings)
    print(f"The report is {page}, the values are in {rows}.")
    for path in figures:
        print(f"  {path}")


def _parts(texts):
    return [part for text in texts for part in text.split(",")]


def run():
    """Entry point of the `zoo-analyze` command."""
    common.run(main)


if __name__ == "__main__":
    run()
