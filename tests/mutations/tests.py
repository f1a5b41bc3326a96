"""Deliberate bugs of the package `tests`."""

# What the bug is; the file; the code; the code with the bug; the tests to run.
MUTATIONS = [
    (
        "figures that are not numbers are like all others",
        "tests/full_size/compare.py",
        "if not abs(value - theirs[key]) <= rate",
        "if abs(value - theirs[key]) > rate",
        "tests/test_full_size.py",
    ),
    (
        "a resumed training at full size is cut as if it began",
        "tests/full_size/child.py",
        "updates - done % updates",
        "updates",
        "tests/test_full_size.py",
    ),
]
