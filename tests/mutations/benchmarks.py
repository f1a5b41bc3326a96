"""Deliberate bugs of the package `benchmarks`."""

# What the bug is; the file; the code; the code with the bug; the file of the test that
# sees it; the name of the test.
MUTATIONS = [
    (
        "as good is not good enough",
        "benchmarks/results/passes_saved.py",
        "if values[size] <= bound",
        "if values[size] < bound",
        "tests/benchmarks/results/test_passes_saved.py",
        "test_the_smallest_number_of_passes_is_found_for_each_seed_and_for_the_means",
    ),
    (
        "means over some corruptions count as those over all",
        "benchmarks/results/documents.py",
        'name.shift == ("c", "*/*")',
        'name.shift[0] == "c"',
        "tests/benchmarks/results/test_documents.py",
        "test_the_documents_hold_the_results_of_the_presets",
    ),
]
