import keras
import numpy as np
import pytest
from keras import ops

import layers


def unpooled(x, like):
    """A loop over the windows."""
    found = np.zeros(like.shape, x.dtype)
    for place in np.ndindex(*x.shape):
        image, top, left, channel = place
        rows = slice(2 * top, 2 * top + 2), slice(2 * left, 2 * left + 2)
        window = like[image, *rows, channel]
        if not window.size:
            continue
        i, j = np.unravel_index(window.argmax(), window.shape)
        found[image, 2 * top + i, 2 * left + j, channel] = x[place]
    return found


@pytest.mark.parametrize("sides", [(4, 6), (5, 7), (3, 6)])
def test_values_go_where_the_largest_ones_were(sides):
    rng = np.random.default_rng(0)
    # Few values, so that some are equal; below zero, where a border of zeros would win.
    like = rng.integers(-5, 0, (2, *sides, 3)).astype("float32")
    for windows in ([s // 2 for s in sides], [-(-s // 2) for s in sides]):
        x = rng.normal(size=(2, *windows, 3)).astype("float32")
        layer = layers.MaxUnpooling2D()
        found = np.asarray(layer([x, like]))
        np.testing.assert_array_equal(found, unpooled(x, like))
    # A max pooling is undone but for what it left out.
    pooled = keras.layers.MaxPooling2D()(like)
    again = keras.layers.MaxPooling2D()(layer([pooled, like]) * (like < 0))
    even = tuple(s // 2 for s in sides)
    assert tuple(again.shape[1:3]) == even


def test_it_is_saved_and_refuses_what_does_not_fit(tmp_path):
    inputs = keras.Input((2, 3, 4)), keras.Input((5, 6, 4))
    model = keras.Model(inputs, layers.MaxUnpooling2D(name="up")(list(inputs)))
    assert model.output_shape == (None, 5, 6, 4)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    given = [ops.ones((1, 2, 3, 4)), ops.ones((1, 5, 6, 4))]
    np.testing.assert_array_equal(again(given), model(given))
    with pytest.raises(ValueError, match="two maps of known sizes with equally many"):
        layers.MaxUnpooling2D()([ops.ones((1, 2, 3, 4)), ops.ones((1, 5, 6, 3))])
