"""Pickles that only build plain values (used by the readers of weights and data)."""

import io
import warnings

from zoo.storage import unpickling


def test_a_string_with_an_unknown_escape_is_read_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = unpickling.load(io.BytesIO(b"S'a\\}b'\np0\n."), "file", {})
    assert text == b"a\\}b"
