import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
CODE = """
def test_first():
    assert 1 + 1 == 3

def test_second():
    pass
"""


def test_a_failure_is_printed_before_the_next_test_ends(tmp_path):
    (tmp_path / "test_two.py").write_text(CODE)
    command = [sys.executable, "-m", "pytest", "-v", "-p", "tests.helpers.failures"]
    options = ["-c", "/dev/null", "--rootdir", tmp_path, "-p", "no:cacheprovider"]
    process = subprocess.run(
        [*command, *options, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1, process.stderr
    before, _, after = process.stdout.partition("test_second PASSED")
    assert "assert (1 + 1) == 3" in before
    assert "assert (1 + 1) == 3" in after  # The summary stays.
