"""Networks without a block against networks that are built without it."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import analyzed
from training import analysis
from training.analysis import lesion_study


def without(model, name):
    """Returns the logits of `analyzed.residual`, one block of which is left out."""

    def layer(own):
        return model.get_layer(own)

    def run(pixels):
        x = layer("stem_relu")(layer("stem")(layer("normalize")(pixels)))
        branch = layer("one_2")(layer("one_relu")(layer("one")(x)))
        x = ops.relu(x if name == "one_out" else x + branch)
        x = x if name == "smooth" else layer("smooth")(x)
        skip = layer("two_skip")(x)
        branch = layer("two_relu")(layer("two")(x))
        x = skip if name == "two_add" else skip + branch
        return layer("head")(layer("pool")(x))

    return run


def test_accuracies_are_those_of_networks_without_the_block():
    model, data = analyzed.residual(), analyzed.images(12)
    found = analysis.lesions(model, data, batch_size=6)
    blocks = [None, "one_out", "smooth", "two_add"]
    assert [row.get("layer") for row in found.rows] == [*blocks, *blocks]
    whole = None
    for index, name in enumerate(blocks):
        logits = without(model, name)(data.images.astype("float32"))
        probs = np.asarray(ops.softmax(logits))
        right = np.argmax(probs, axis=-1) == data.labels
        nll = -np.log(probs[np.arange(12), data.labels]).mean()
        np.testing.assert_array_equal(found.arrays["right"][index], right)
        np.testing.assert_allclose(found.values("accuracy")[index], right.mean())
        np.testing.assert_allclose(found.values("nll")[index], nll, rtol=1e-4)
        whole = nll if whole is None else whole
        if name:
            change = found.rows[len(blocks) + index]["change"]
            np.testing.assert_allclose(change, nll - whole, atol=1e-4)
    assert {row["bypass"] for row in found.rows if "bypass" in row} == {
        "branch",
        "identity",
    }
    assert len(lesion_study.plot_lesions({"a": found})) == 1


def test_a_network_that_draws_is_averaged():
    model, data = analyzed.residual(rate=0.5), analyzed.images(8)
    one = analysis.lesions(model, data, batch_size=4, num_samples=1)
    many = analysis.lesions(model, data, batch_size=4, num_samples=3)
    assert one.values("nll")[0] != many.values("nll")[0]
    # Without its branch, the only thing that draws, the passes are equal.
    np.testing.assert_allclose(one.values("nll")[1], many.values("nll")[1], rtol=1e-5)


def concatenated():
    inputs = keras.Input(analyzed.SHAPE)
    x = analyzed.conv(inputs, 4, 1, "stem")
    x = keras.layers.Concatenate(name="join")([x, analyzed.conv(x, 2, 1, "grow")])
    x = keras.layers.Dense(3, name="head")(keras.layers.Flatten()(x))
    return keras.Model(inputs, x)


def test_a_branch_that_is_joined_gives_zeros():
    model, data = concatenated(), analyzed.images(8)
    found = analysis.lesions(model, data, batch_size=4)
    assert found.rows[1]["layer"] == "join"
    kernel, bias = model.get_layer("head").get_weights()
    part = keras.Model(model.input, model.get_layer("join").output)
    maps = np.array(part(data.images.astype("float32")))
    maps[..., 4:] = 0
    right = np.argmax(maps.reshape(8, -1) @ kernel + bias, axis=-1) == data.labels
    np.testing.assert_array_equal(found.arrays["right"][1], right)


def test_a_network_without_such_blocks_is_named():
    with pytest.raises(ValueError, match="No block of .* can be passed by"):
        analysis.lesions(analyzed.chain(), analyzed.images(), batch_size=4)
