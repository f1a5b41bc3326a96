"""Forms of compressed networks, as the benchmark reads them."""

import pytest

from benchmarks import compress


@pytest.mark.parametrize(
    "text, message",
    [
        ("int8=resnet20", "a label, a model and its weights.*forms=int8=resnet20"),
        ("one=resnet20_mcdo:resnet20.cifar10", "not those of the model 'resnet20_mcdo"),
    ],
)
def test_forms_that_are_no_networks_are_errors(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        compress.exported(text, [], None, 1, tmp_path)
    assert list(tmp_path.iterdir()) == []
