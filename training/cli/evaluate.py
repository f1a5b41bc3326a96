r"""Evaluates models on test sets, at several numbers of forward passes.

Example:

    zoo-evaluate --model=resnet20.fashion_mnist,resnet20_smooth_mcdo.fashion_mnist \
        --dataset=fashion_mnist,fashion_mnist_c/fog/* --num_samples=1,5 --output=runs/e

The same command resumes where it was interrupted.
"""

import dataclasses

from absl import flags, logging

from training.cli import common, names
from training.evaluation import TOLERANCE
from training.parallel import workers

flags.DEFINE_list(
    "model",
    None,
    "Models to evaluate: names, .keras files, SavedModels, .tflite, .onnx and OpenVINO "
    "files, or models on servers, e.g. resnet20,my.keras,grpc://localhost:8500/mine; "
    "a+b is an ensemble, and a@laplace:subset=all a posterior with a setting.",
    required=True,
)
flags.DEFINE_list(
    "weights",
    None,
    "Weights of each model, in the same order, e.g. runs/a,,runs/b: a path, nothing, "
    "or a+b.",
)
flags.DEFINE_list(
    "ensemble",
    None,
    "Members of one more model, an ensemble: names, or weights of the first model, "
    "e.g. runs/a,runs/b.",
)
flags.DEFINE_list(
    "dataset",
    "fashion_mnist",
    "Test sets, e.g. fashion_mnist_c/fog/*; * matches any name.",
)
flags.DEFINE_enum(
    "split",
    "test",
    ["test", "all"],
    "Images to take from a folder that has no test split.",
)
flags.DEFINE_list(
    "ood",
    "",
    "Out-of-distribution data sets to detect against the first test set, e.g. mnist.",
)
flags.DEFINE_enum(
    "suite",
    None,
    ["ovadia", "single_pass"],
    "Benchmark whose models and data sets are added.",
)
flags.DEFINE_bool(
    "exclude_seen", False, "Whether to leave out images that a model was trained on."
)
flags.DEFINE_string(
    "adapt",
    None,
    "Data set whose validation images posteriors adapt to, or its training images if "
    "they are fitted to these.",
)
flags.DEFINE_string(
    "calibrate",
    None,
    "Temperatures for all models, fitted to: validation, a number, or a data set.",
)
flags.DEFINE_integer(
    "adapt_limit",
    None,
    "Number of images that posteriors and decisions adapt to, of each class its share, "
    "e.g. 5000; default: all of them.",
    lower_bound=1,
)
flags.DEFINE_list(
    "decision",
    "",
    "Decisions of each model, with what they promise in percent, e.g. aps_90,lac_95.",
)
flags.DEFINE_list(
    "num_samples",
    "1,2,5,10,30,50",
    "Numbers of forward passes to average, e.g. 1,5,30.",
)
flags.DEFINE_integer(
    "limit",
    None,
    "Number of images to use of each set, e.g. 1000; default: all of them.",
    lower_bound=1,
)
flags.DEFINE_enum(
    "selection",
    None,
    ["stratified", "first"],
    "How --limit chooses images: the same share of each class, or the first ones.",
)
flags.DEFINE_integer("batch_size", 100, "Number of images in a batch.", lower_bound=1)
flags.DEFINE_enum(
    "precision",
    "float32",
    ["float32", "bfloat16"],
    "Precision of the forward passes: bfloat16 takes about half of the time on "
    "processors that have instructions for it.",
)
flags.DEFINE_integer("seed", 0, "Seed of the forward passes.")
flags.DEFINE_string("data_dir", None, "Folder that holds the data sets, e.g. data.")
flags.DEFINE_string(
    "output",
    None,
    "Folder to write predictions, rows, tables and the report to, e.g. runs/mine or "
    "gs://bucket/mine.",
    required=True,
)
flags.DEFINE_enum(
    "outputs", "logits", ["logits", "probs"], "What models from outside the zoo return."
)
flags.DEFINE_list(
    "input_range",
    "0,255",
    "Range of pixel values that models from outside the zoo take, e.g. 0,1.",
)
flags.DEFINE_list(
    "classes",
    "",
    "Class names of models from outside the zoo, in order, e.g. cat,dog, or a file "
    "with one a line.",
)
flags.DEFINE_string(
    "reference",
    None,
    "Model that the mCE is normalized by, e.g. resnet20.fashion_mnist.",
)
flags.DEFINE_bool(
    "check",
    False,
    "Whether to compare the results with the model cards; a difference is an error.",
)
flags.DEFINE_float(
    "tolerance",
    TOLERANCE,
    "Largest difference from a model card that --check accepts, e.g. 0.001.",
)
flags.DEFINE_enum(
    "attack",
    None,
    ["fgsm", "pgd"],
    "Attack on each model, of the images of data sets that are not shifted.",
)
flags.DEFINE_list(
    "epsilon",
    "",
    "Radii of the attack as parts of the range of pixels, e.g. 2/255,8/255.",
)
flags.DEFINE_enum(
    "attack_norm",
    "linf",
    ["linf", "l2"],
    "Norm of the attack: largest change of a pixel, or root of the sum of squares.",
)
flags.DEFINE_integer(
    "steps", None, "Number of steps of PGD; default: 20.", lower_bound=1
)
flags.DEFINE_string(
    "step_size",
    None,
    "Size of a step of the attack, e.g. 2/255; default: 2.5 times the radius by the "
    "number of steps.",
)
flags.DEFINE_integer(
    "restarts", 1, "Number of random starts of PGD, e.g. 5.", lower_bound=1
)
flags.DEFINE_integer(
    "draws",
    None,
    "Number of draws of a random model that each step of the attack averages over; "
    "default: 10.",
    lower_bound=1,
)
flags.DEFINE_bool(
    "check_masking",
    False,
    "Whether to look for signs that gradients lead the attack astray, on 200 images.",
)
flags.DEFINE_integer(
    "jobs",
    None,
    "Number of processes that share the work, e.g. 4; default: one for each core where "
    "it pays, and on a cluster one for each GPU or core.",
    lower_bound=1,
)
flags.DEFINE_string(
    "cluster",
    None,
    "Where these processes are: ray, or ray:host:port for a Ray cluster; default: this "
    "machine.",
)
POSITIVE = "must be positive integers, for example --num_samples=1,2,5"
flags.register_validator("num_samples", common.are_positive, POSITIVE)


def main():
    """Evaluates the models, prints tables and says where the files lie."""
    given = flags.FLAGS
    others = [] if _is_part(given.calibrate) else [given.calibrate]
    datasets = [*given.dataset, *given.ood, given.adapt, *others]
    names.check(given.model, datasets, given.data_dir, output=given.output)
    if given.cluster:
        workers.check_cluster(given.cluster)
    from training.evaluation import command

    fields = [field.name for field in dataclasses.fields(command.Settings)]
    values = {name: flags.FLAGS[name].value for name in fields}
    values["num_samples"] = list(map(int, values["num_samples"]))
    logging.set_verbosity(max(logging.get_verbosity(), logging.INFO))
    outcome = command.run(command.Settings(**values))
    outcome.show()
    if outcome.deviations:
        raise ValueError(f"{len(outcome.deviations)} values are not those published.")


def _is_part(calibrate):
    return calibrate in (None, "validation") or calibrate.isdecimal()


def run():
    """Entry point of the `zoo-evaluate` command."""
    common.run(main)


if __name__ == "__main__":
    run()
