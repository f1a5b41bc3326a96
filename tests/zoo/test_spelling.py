import pytest

from zoo import spelling

KNOWN = ("resnet20", "resnet110", "vgg16")


@pytest.mark.parametrize(
    "word, expected",
    [
        ("resnet2", "resnet20"),
        ("resnet20", "resnet20"),
        ("vgg_16", "vgg16"),
        ("alexnet", None),
        ("", None),
    ],
)
def test_the_nearest_word_is_one_that_is_spelled_alike(word, expected):
    assert spelling.nearest(word, KNOWN) == expected
    question = f" Did you mean '{expected}'?" if expected else ""
    assert spelling.hint(word, KNOWN) == question


def test_a_higher_cutoff_asks_for_more_likeness():
    assert spelling.nearest("vgg", KNOWN) == "vgg16"
    assert spelling.nearest("vgg", KNOWN, cutoff=0.8) is None


def test_without_known_words_there_is_no_question():
    assert spelling.hint("vgg16", ()) == ""
