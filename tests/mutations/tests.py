"""Deliberate bugs of the package `tests`."""

# What the bug is; the file; the code; the code with the bug; the file of the test that
# sees it; the name of the test.
MUTATIONS = [
    (
        "a channel that is masked keeps its offset",
        "tests/helpers/narrow.py",
        "(layer.gamma, layer.beta, layer.moving_mean)",
        "(layer.gamma, layer.moving_mean)",
        "tests/zoo/test_channels.py",
        "test_removed_channels_leave_the_logits_of_masked_ones",
    ),
    (
        "figures that are not numbers are like all others",
        "tests/full_size/compare.py",
        "if not abs(value - theirs[key]) <= rate",
        "if abs(value - theirs[key]) > rate",
        "tests/test_full_size.py",
        "test_one_image_of_10000_and_other_differences_are_seen",
    ),
    (
        "a resumed training at full size is cut as if it began",
        "tests/full_size/child.py",
        "updates - done % updates",
        "updates",
        "tests/test_full_size.py",
        "test_epochs_are_cut_and_whole_ones_are_not",
    ),
    (
        "what extends the packages runs in them as they are",
        "tests/helpers/markdown.py",
        "if not _EXTENDS.match(block.code)",
        "if block.code",
        "tests/test_readme.py",
        "test_the_python_code_runs",
    ),
    (
        "a metric is said to touch a file less",
        "CONTRIBUTING.md",
        "| metric | 2 | `training/metrics/x.py`, ",
        "| metric | 1 | ",
        "tests/test_contributing.py",
        "test_an_example_works_and_touches_these_files",
    ),
    (
        "an example of CONTRIBUTING does not look at what was added",
        "CONTRIBUTING.md",
        'f"{family}_smooth_strong"',
        'f"{family}_smooth_mcdo"',
        "tests/test_contributing.py",
        "test_an_example_works_and_touches_these_files",
    ),
    (
        "blocks of another process run in the first one",
        "tests/neighbors/pages.py",
        "if not processes or block.code.startswith(ANOTHER):",
        "if not processes:",
        "tests/docs/test_neighbors.py",
        "test_a_block_that_says_so_begins_another_process",
    ),
]
