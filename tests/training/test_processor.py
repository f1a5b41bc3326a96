"""What a processor has instructions for."""

import pytest

from training import processor


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512_vnni avx512_bf16 movdiri\n", True),
        ("flags\t\t: fpu amx_bf16\n\nflags\t\t: fpu amx_bf16\n", True),
        ("Features\t: fp asimd i8mm bf16 dgh\n", True),
        ("model name\t: bf16\nflags\t\t: fpu avx512f avx512_vnni\n", False),
        ("processor\t: 0\n", None),
        (None, None),
    ],
)
def test_instructions_are_those_that_linux_tells_of(text, expected, tmp_path):
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert processor.has_bfloat16(tmp_path / "cpuinfo") is expected
