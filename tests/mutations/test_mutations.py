"""That each deliberate bug can be put in, and has tests that may see it."""

import functools

import pytest

from tests.mutations import __main__ as mutations


def test_bugs_can_be_put_into_the_code_of_today():
    text = functools.cache(lambda path: (mutations.ROOT / path).read_text())
    for _, path, old, new, file, test in mutations.MUTATIONS:
        assert text(path).count(old) == 1, (path, old)
        assert new != old, (path, old)
        assert f"def {test}(" in text(file), (file, test)


def test_bugs_are_chosen_by_number_test_and_file():
    assert mutations.chosen(["3", "2", "3"]) == [3, 2]
    assert len(mutations.chosen([])) == len(mutations.MUTATIONS)
    of_file = mutations.chosen(["layers/checks.py"])
    assert {mutations.MUTATIONS[n - 1][1] for n in of_file} == {"layers/checks.py"}
    of_test = mutations.chosen(["tests/layers/test_other_backends.py"])
    assert {mutations.MUTATIONS[n - 1][-2] for n in of_test} == {
        "tests/layers/test_other_backends.py"
    }
    name = mutations.MUTATIONS[of_test[0] - 1][-1]
    assert of_test[0] in mutations.chosen([f"test_other_backends.py::{name}"])


@pytest.mark.parametrize("word", ["0", "99999", "no_such_test"])
def test_what_means_no_bug_is_refused(word):
    with pytest.raises(ValueError, match=f"Received: {word}"):
        mutations.chosen([word])
