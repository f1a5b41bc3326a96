r"""Evaluates models on test sets, at several numbers of forward passes.

Example:

    zoo-evaluate --model=resnet20.fashion_mnist,resnet20_smooth_mcdo.fashion_mnist \
        --dataset=fashion_mnist,fashion_mnist_c/fog/* --num_samples=1,5 --output=runs/e

The same command goes on where it was interrupted.
"""

import dataclasses

from absl import flags, logging

from training.cli import common
from training.evaluation import card_check, command

flags.DEFINE_list("model", None, "Names, .keras, SavedModels; a+b.", required=True)
flags.DEFINE_list("weights", None, "A path or nothing for each model, or a+b.")
flags.DEFINE_list("ensemble", None, "Models, or weights of the first, as one more.")
flags.DEFINE_list("dataset", "fashion_mnist", "Names of test sets, with * for any.")
flags.DEFINE_enum("split", "test", ["test", "all"], "Of folders without test/.")
flags.DEFINE_list("ood", "", "Data sets to be told from the first test set.")
flags.DEFINE_enum("suite", None, ["ovadia"], "Adds its models and data sets.")
flags.DEFINE_bool("exclude_seen", False, "Whether to leave out training images.")
flags.DEFINE_string("calibrate", None, "validation, a number, data: for temperatures.")
flags.DEFINE_list("num_samples", "1,2,5,10,30,50", "Forward passes.")
flags.DEFINE_integer("limit", None, "Only so many images.", lower_bound=1)
flags.DEFINE_enum("selection", None, ["stratified", "first"], "How --limit takes.")
flags.DEFINE_integer("batch_size", 100, "Images a step.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Of the forward passes.")
flags.DEFINE_string("data_dir", None, "Where the data lie.")
flags.DEFINE_string("output", None, "Folder to write to.", required=True)
flags.DEFINE_enum("outputs", "logits", ["logits", "probs"], "Of models not of the zoo.")
flags.DEFINE_list("input_range", "0,255", "Pixels of models not of the zoo.")
flags.DEFINE_list("classes", "", "Their classes, in order, or a file of lines.")
flags.DEFINE_string("reference", None, "The model that mCE is relative to.")
flags.DEFINE_bool("check", False, "Whether to compare with the model cards.")
flags.DEFINE_float("tolerance", card_check.TOLERANCE, "Largest difference to a card.")
POSITIVE = "must be positive integers, for example --num_samples=1,2,5"
flags.register_validator("num_samples", common.are_positive, POSITIVE)


def main():
    """Evaluates the models, prints tables and says where the files lie."""
    fields = [field.name for field in dataclasses.fields(command.Settings)]
    values = {name: flags.FLAGS[name].value for name in fields}
    values["num_samples"] = list(map(int, values["num_samples"]))
    logging.set_verbosity(max(logging.get_verbosity(), logging.INFO))
    outcome = command.run(command.Settings(**values))
    outcome.show()
    if outcome.deviations:
        raise ValueError(f"{len(outcome.deviations)} values are not those published.")


def run():
    """Entry point of the `zoo-evaluate` command."""
    common.run(main)


if __name__ == "__main__":
    run()
