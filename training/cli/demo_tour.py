"""The tour of the product: predictions with uncertainty, ensemble sizes, exports."""

import pathlib

import keras
import matplotlib
import numpy as np

import zoo
from training import export, metrics, report
from training.evaluation import evaluate

MODELS = ("resnet20", "resnet20_mcdo", "resnet20_smooth", "resnet20_smooth_mcdo")
SIZES = (1, 2, 5, 10, 30, 50)
# What is shown of each model.
METRICS = ("accuracy", "nll", "brier", "ece", "unc_90", "entropy")
# Commands to copy, in lines of fewer than 80 columns.
NEXT = """
Try next:
  zoo-evaluate --model=resnet20,resnet20_smooth --limit=1000 \\
      --dataset=fashion_mnist_c/fog/3 --output=runs/fog
  zoo-train --recipe=finetune --model=resnet18_smooth \\
      --dataset=your/images --workdir=runs/mine
docs/usage.md has all commands, and the same in Python."""


def print_next(screen):
    """Prints what to try next on a `rich.console.Console`, without wrapping it."""
    screen.print(NEXT, highlight=False, soft_wrap=True)


def classify(model, test, num_samples: int, seed: int = 0):
    """Classifies images and says how uncertain each prediction is.

    Args:
        model: From images to logits.
        test: The images, a `training.data.ImageData`.
        num_samples: Forward passes per image.
        seed: Seed of the passes.

    Returns:
        Arrays of the mean probabilities, shape `(examples, classes)`, the predictive
        entropy and the mutual information, shape `(examples,)`, in nats.
    """
    posterior = zoo.posterior.MonteCarlo(model, num_samples)
    parts = []
    for start in range(0, len(test), 250):
        images = np.asarray(test.images[start : start + 250])
        logits = posterior(images, seed=seed, offset=start)
        quantities = (
            zoo.predictive.probs(logits),
            zoo.predictive.entropy(logits),
            zoo.predictive.mutual_information(logits),
        )
        parts.append([keras.ops.convert_to_numpy(q) for q in quantities])
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def plot_certainty(test, probs, entropy, path: pathlib.Path, columns: int = 8):
    """Draws the images with the lowest and with the highest predictive entropy.

    Args:
        test: The images.
        probs: Array of shape `(examples, classes)`.
        entropy: Array of shape `(examples,)`, in nats.
        path: Path of the PNG file.
        columns: Images in each of the two rows.
    """
    matplotlib.use("Agg")
    from matplotlib import pyplot

    order = np.argsort(entropy)
    rows = {"most certain": order[:columns], "least certain": order[::-1][:columns]}
    figure, axes = pyplot.subplots(2, columns, figsize=(1.6 * columns, 5.2))
    for axis_row, (title, indices) in zip(axes, rows.items(), strict=True):
        for axis, index in zip(axis_row, indices, strict=True):
            axis.imshow(np.squeeze(test.images[index]), cmap="gray")
            axis.set_xticks([])
            axis.set_yticks([])
            label, truth = int(np.argmax(probs[index])), int(test.labels[index])
            right = label == truth
            text = f"{test.classes[label]}\n{probs[index, label]:.0%}, "
            text += f"{entropy[index]:.2f} nats\n"
            text += "correct" if right else f"is: {test.classes[truth]}"
            axis.set_title(text, fontsize=9, color="black" if right else "#b00020")
        axis_row[0].set_ylabel(title, fontsize=11)
    figure.suptitle("Predictive entropy of the mean of the forward passes", fontsize=12)
    figure.tight_layout()
    report.save_figure(figure, path)
    pyplot.close(figure)


def compare(test, output: pathlib.Path) -> list[dict]:
    """Evaluates the four packaged models, and writes rows, table and curves.

    Args:
        test: The images.
        output: The folder.

    Returns:
        The rows.
    """
    rows, functions = [], {name: metrics.CLASSIFICATION[name] for name in METRICS}
    for name in MODELS:
        model = zoo.load(f"{name}.fashion_mnist")
        rows += evaluate.evaluate(model, test, SIZES, functions)
    report.write_rows(rows, output / "rows.jsonl")
    report.plot_ensemble_size(rows, output / "ensemble_size.png")
    return rows


def explanations() -> list[str]:
    """Returns how to read each column of the table."""
    words = {1: " (higher is better)", -1: " (lower is better)", 0: ""}
    return [
        f"{metric.heading:15} {metric.meaning}{words[metric.better]}"
        for metric in map(metrics.METRICS.get, METRICS)
    ]


def export_both(model, test, output: pathlib.Path) -> list[dict]:
    """Exports for servers and devices, and returns the two reports of parity."""
    images = np.asarray(test.images[:8], "float32")
    return [
        export.export_saved_model(
            model, output / "saved_model", overwrite=True, images=images
        ),
        export.export_tflite(
            model, output / "model.tflite", overwrite=True, images=images
        ),
    ]
