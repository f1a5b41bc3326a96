"""Computes the program in a Core ML file, which runs on Apple's systems otherwise.

    python -m tests.neighbors.checks.core_ml

It takes what the section on Core ML has left in the folder, and compares the
probabilities with those that Keras has left there. The operators are those that
deterministic networks of the zoo become; their definitions are those of the Model
Intermediate Language (`coremltools.converters.mil.mil.ops.defs`), in NumPy.
"""

import numpy as np

TOLERANCE = 1e-4


def program(path: str):
    """Returns the function `main` in a file, with its weights.

    Args:
        path: An `.mlpackage`.
    """
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto.load import load

    model = ct.models.MLModel(path, skip_model_load=True)
    spec = model.get_spec()
    found = load(spec, spec.specificationVersion, model.weights_dir)
    return found.functions["main"]


def windows(x, size, strides, pad):
    """Returns windows of maps of shape (batch, channels, height, width).

    Their shape is (batch, channels, rows, columns, *size), and outside are zeros.
    """
    x = np.pad(x, ((0, 0), (0, 0), tuple(pad[:2]), tuple(pad[2:])))
    found = np.lib.stride_tricks.sliding_window_view(x, size, axis=(2, 3))
    return found[:, :, :: strides[0], :: strides[1]]


def padding(given, shape) -> list:
    """Returns the zeros before and after the two axes of a map.

    Args:
        given: Inputs of a convolution or a pooling.
        shape: Of the map.
    """
    kind = given.get("pad_type", "valid")
    if kind == "custom":
        return list(given["pad"])
    if kind == "valid":
        return [0, 0, 0, 0]
    assert kind == "same", kind
    found = []
    for side, size, stride in zip(
        shape[2:], given["size"], given["strides"], strict=True
    ):
        extra = max((-(-side // stride) - 1) * stride + size - side, 0)
        found += [extra // 2, extra - extra // 2]
    return found


def convolve(given):
    """Computes `conv`."""
    x, weight = given["x"], given["weight"]
    groups = int(given.get("groups", 1))
    assert all(rate == 1 for rate in given.get("dilations", (1, 1)))
    given = {"strides": (1, 1), **given, "size": weight.shape[2:]}
    pads = padding(given, x.shape)
    parts = windows(x, weight.shape[2:], given["strides"], pads)
    parts = np.split(parts, groups, axis=1)
    weights = np.split(weight, groups)
    pairs = zip(parts, weights, strict=True)
    y = [np.einsum("bchwij,ocij->bohw", part, w, optimize=True) for part, w in pairs]
    bias = given.get("bias", np.zeros(len(weight)))
    return np.concatenate(y, axis=1) + np.reshape(bias, (-1, 1, 1))


def pool(given):
    """Computes `avg_pool`."""
    x = given["x"]
    given = {"strides": (1, 1), **given, "size": given["kernel_sizes"]}
    pads = padding(given, x.shape)
    sizes = tuple(given["size"])
    sums = windows(x, sizes, given["strides"], pads).sum(axis=(4, 5))
    counted = np.ones_like(x) if given["exclude_padding_from_average"] else None
    if counted is None:
        return sums / np.prod(sizes)
    return sums / windows(counted, sizes, given["strides"], pads).sum(axis=(4, 5))


def pad(given):
    """Computes `pad` with a constant."""
    assert given.get("mode", "constant") == "constant"
    pairs = np.reshape(given["pad"], (-1, 2))
    missing = given["x"].ndim - len(pairs)
    pairs = [(0, 0)] * missing + [tuple(pair) for pair in pairs]
    return np.pad(given["x"], pairs, constant_values=given.get("constant_val", 0))


def softmax(given):
    """Computes `softmax`."""
    x, axis = given["x"], int(given.get("axis", -1))
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def mean(given):
    """Computes `reduce_mean`."""
    axes = tuple(int(axis) for axis in given["axes"])
    return given["x"].mean(axis=axes, keepdims=bool(given.get("keep_dims", False)))


OPERATORS = {
    "add": lambda g: g["x"] + g["y"],
    "sub": lambda g: g["x"] - g["y"],
    "mul": lambda g: g["x"] * g["y"],
    "real_div": lambda g: g["x"] / g["y"],
    "relu": lambda g: np.maximum(g["x"], 0),
    "tanh": lambda g: np.tanh(g["x"]),
    "cast": lambda g: g["x"],
    "identity": lambda g: g["x"],
    "transpose": lambda g: np.transpose(g["x"], g["perm"]),
    "reshape": lambda g: np.reshape(g["x"], g["shape"]),
    "squeeze": lambda g: np.squeeze(g["x"], tuple(g["axes"])),
    "expand_dims": lambda g: np.expand_dims(g["x"], tuple(g["axes"])),
    "linear": lambda g: g["x"] @ g["weight"].T + g.get("bias", 0),
    "matmul": lambda g: g["x"] @ g["y"],
    "reduce_mean": mean,
    "softmax": softmax,
    "avg_pool": pool,
    "conv": convolve,
    "pad": pad,
}


def compute(function, images: np.ndarray) -> np.ndarray:
    """Returns the only output of a function of images.

    Args:
        function: What `program` returns.
        images: Array of the shape of its input.
    """
    (name,) = function.inputs
    values = {name: images.astype("float64")}

    def known(variable):
        return variable.val if variable.val is not None else values[variable.name]

    for operation in function.operations:
        if operation.op_type == "const":
            continue
        given = {
            key: known(variable)
            for key, variable in operation.inputs.items()
            if variable is not None
        }
        (output,) = operation.outputs
        values[output.name] = OPERATORS[operation.op_type](given)
    (output,) = function.outputs
    return values[output.name]


def main() -> None:
    """Compares a file with probabilities of Keras."""
    stored = np.load("expected.npz")
    function = program("network.mlpackage")
    found = np.concatenate([compute(function, x[None]) for x in stored["images"]])
    apart = np.abs(found - stored["probabilities"]).max()
    assert apart < TOLERANCE, apart
    print(f"The file differs from Keras by {apart:.1e} at most.")


if __name__ == "__main__":
    main()
