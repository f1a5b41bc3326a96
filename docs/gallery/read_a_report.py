"""
Read a report
=============

``zoo-evaluate`` leaves a page, ``report.html``, with everything that it measured. This
example makes a small one in Python and goes through its charts one by one.
"""

import pathlib
import tempfile

from matplotlib import image, pyplot

import zoo
from training import data, report
from training.evaluation import sweep

folder = pathlib.Path(tempfile.mkdtemp())
names = ("resnet20.fashion_mnist", "resnet20_smooth_mcdo.fashion_mnist")
models = {name: zoo.load(name) for name in names}

clean = data.load("fashion_mnist", "test").sample(200)
corrupted = [
    data.load(f"fashion_mnist_c/{corruption}/{severity}", "test").sample(200)
    for corruption in ("fog", "gaussian_noise", "motion_blur")
    for severity in (1, 3, 5)
]
digits = data.load_ood("digits", clean.images.shape[1:]).take(200)
rows = sweep.evaluate_all(
    models, [clean, *corrupted], folder / "predictions", (1, 5), ood=[digits]
)
report.html(rows, folder / "predictions", folder / "report.html", clean)
print(f"{len(rows)} rows, {(folder / 'report.html').stat().st_size / 1e6:.1f} MB")

# %%
# A row is one value, and what it is of:

for key, value in rows[0].items():
    print(f"{key:13} {value}")


# %%
# The table
# ---------
#
# Each model has a line for each number of passes N; for a deterministic model they are
# equal. A high accuracy is good, and so are a low NLL, Brier score and ECE. The NLL
# punishes confident mistakes the most, and the ECE is about confidence alone.

of_clean = [row for row in rows if row["dataset"] == "fashion_mnist"]
shown = ("accuracy", "nll", "brier", "ece")
print(report.markdown([row for row in of_clean if row["metric"] in shown]))

# %%
# How many passes?
# ----------------
#
# Each line is a model, from one forward pass to the largest number of them. Where it
# gets flat, more passes are a waste.


def show(path):
    """Shows a figure as the report has it."""
    pixels = image.imread(path)
    height, width = pixels.shape[:2]
    figure = pyplot.figure(figsize=(9, 9 * height / width))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(pixels)
    axis.set_axis_off()
    pyplot.show()


report.plot_ensemble_size(of_clean, folder / "ensemble_size.png")
show(folder / "ensemble_size.png")

# %%
# What corruptions do
# -------------------
#
# A box is one model at one severity, over the corruptions: the line is the median, the
# box holds the middle half. A model that holds has boxes that stay where they were at
# severity 0, and short ones, which means that no corruption is much worse than others.

report.plot_severity(rows, "fashion_mnist", folder / "severity.png")
show(folder / "severity.png")

# %%
# Out of distribution
# -------------------
#
# The AUROC is the probability that an image of the other data set gets a higher score
# than one of the model's own: 50 % is guessing, 100 % a clean separation.

for row in rows:
    if row["metric"] == "auroc_entropy":
        print(f"{row['model']:35} N = {row['num_samples']}: {row['value']:.1%}")
