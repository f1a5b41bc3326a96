"""Weights in the formats of keras_hub."""

import json
import re

import h5py
import numpy as np

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)


def renamed(state):
    """The names and the layout of keras_hub for a state of torchvision."""
    kinds = {"running_mean": "moving_mean", "running_var": "moving_variance"}
    found = {}
    for key, array in state.items():
        module, _, variable = key.rpartition(".")
        if variable == "num_batches_tracked":
            continue
        norm = module in ("bn1",) or re.search(r"\.bn\d$|downsample\.1$", module)
        module = re.sub(
            r"layer(\d)\.(\d+)", lambda m: f"stack{int(m[1]) - 1}_block{m[2]}", module
        )
        for old, new in (
            (r"\.conv(\d)$", r"_\1_conv"),
            (r"\.bn(\d)$", r"_\1_bn"),
            (r"\.downsample\.0$", "_0_conv"),
            (r"\.downsample\.1$", "_0_bn"),
            (r"^conv1$", "conv1_conv"),
            (r"^bn1$", "conv1_bn"),
            (r"^fc$", "predictions"),
        ):
            module = re.sub(old, new, module)
        if norm:
            kinds |= {"weight": "gamma", "bias": "beta"}
        else:
            kinds |= {"weight": "kernel", "bias": "bias"}
            axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(array.ndim, (0,))
            array = array.transpose(axes)  # noqa: PLW2901
        found[f"{module}/{kinds[variable]}"] = array
    return found


def write_h5(path, state, prefix="layers", named=True):
    """Writes weights as Keras does: numbered, with the name of the layer beside."""
    order = "kernel", "gamma", "beta", "bias", "moving_mean", "moving_variance"
    with h5py.File(path, "w") as file:
        layers = {}
        for key, array in state.items():
            layer, _, variable = key.partition("/")
            layers.setdefault(layer, {})[order.index(variable)] = array
        for number, (layer, arrays) in enumerate(layers.items()):
            group = file.create_group(f"{prefix}/layer_{number}/vars")
            if named:
                group.attrs["name"] = layer
            for i, place in enumerate(sorted(arrays)):
                group[str(i)] = arrays[place]
        file.create_group("optimizer/vars")["0"] = np.zeros(3)


def write_preset(folder, state, pooling="avg", scale=True, named=True):
    folder.mkdir()
    head = {k: v for k, v in state.items() if k.startswith("predictions")}
    body = {k: v for k, v in state.items() if k not in head}
    write_h5(folder / "model.weights.h5", body, named=named)
    write_h5(folder / "task.weights.h5", head, named=named)
    converter = {"image_size": [96, 64]}
    if scale:
        converter["scale"] = [1 / (255 * std) for std in STD]
        converter["offset"] = [-m / s for m, s in zip(MEAN, STD, strict=True)]
    for name, config in (
        ("image_converter.json", converter),
        ("task.json", {"pooling": pooling}),
    ):
        (folder / name).write_text(json.dumps({"config": config}))
