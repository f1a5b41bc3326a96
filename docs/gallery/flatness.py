"""
Is my network flatter?
======================

A network lies in a flat place if its loss hardly changes when its weights do. The
largest eigenvalues of the Hessian say how fast it changes at most, and a line through
the weights shows it. Smoothing is said to make the loss flatter: here are two networks
of the same recipe, without it and with it.
"""

from matplotlib import pyplot

import zoo
from training import analysis, data

names = "resnet20", "resnet20_smooth"
models = {name: zoo.load(f"{name}.fashion_mnist") for name in names}

# %%
# Sharpness is of the images that a training has seen, as it augmented them. These are
# test images, since the package has no others; for a network of yours take
# ``data.load(name, "train")``, and the augmentations and the weight decay of its
# training.

images = data.load("fashion_mnist", "test").sample(200)
training = {"augmentations": "flip+crop2", "weight_decay": 5e-4}

# %%
# The largest eigenvalues
# -----------------------
#
# Of two batches each, with their signs. Batches differ, so look at more of them before
# you believe a difference.

hessians = {}
for name, model in models.items():
    found = analysis.hessian(
        model,
        images,
        batch_size=100,
        num_batches=2,
        count=3,
        probes=0,
        steps=0,
        **training,
    )
    hessians[name] = found
    for batch, values in enumerate(found.arrays["eigenvalues"]):
        print(f"{name:16} batch {batch}: {', '.join(f'{x:.1f}' for x in values)}")

# %%
# A line through the weights
# --------------------------
#
# Both networks go the same way, each filter by a share of its own length: else one with
# smaller weights would look sharper.

lines = {
    name: analysis.landscape(
        model, images, batch_size=100, dimensions=1, points=11, **training
    )
    for name, model in models.items()
}
figure, axis = pyplot.subplots(figsize=(6, 4), layout="constrained")
for name, found in lines.items():
    axis.plot(found.arrays["x"], found.arrays["loss"], marker="o", label=name)
axis.set(xlabel="Step, in lengths of the filters", ylabel="NLL + L2 (nats)")
axis.set_yscale("log")
axis.legend()
pyplot.show()

# %%
# With ``dimensions=2`` it is a plane, which ``analysis.plot_landscape`` draws as
# contours and as a surface. ``zoo-analyze --what=hessian,landscape`` makes both for
# several networks, on one page.
