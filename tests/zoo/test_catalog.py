"""Models without values leave nothing behind that Keras would give values later."""

import keras
import pytest

import zoo
from zoo import catalog


@pytest.mark.parametrize("make", [catalog.outline, zoo.describe])
def test_what_is_described_never_gets_values(make, monkeypatch):
    made = []
    monkeypatch.setattr(
        keras.Variable,
        "_deferred_initialize",
        lambda variable: made.append(variable.path),
    )
    make("resnet20_smooth", (16, 16, 1), 3)
    with keras.StatelessScope():
        pass  # At its end Keras gives values to what waits for them.
    assert made == []


def test_an_outline_has_the_shapes_of_the_model():
    outline = catalog.outline("resnet20_mcdo", (16, 16, 1), 3)
    model = zoo.build("resnet20_mcdo", (16, 16, 1), 3)
    assert [w.shape for w in outline.weights] == [w.shape for w in model.weights]
    assert outline.output_shape == (None, 3)
