"""Deliberate bugs of the package `benchmarks`."""

# What the bug is; the file; the code; the code with the bug; the tests to run.
MUTATIONS = [
    (
        "as good is not good enough",
        "benchmarks/results/passes_saved.py",
        "if values[size] <= bound",
        "if values[size] < bound",
        "tests/benchmarks/results/test_passes_saved.py",
    ),
    (
        "means over some corruptions count as those over all",
        "benchmarks/results/documents.py",
        'name.shift == ("c", "*/*")',
        'name.shift[0] == "c"',
        "tests/benchmarks/results/test_documents.py",
    ),
]
