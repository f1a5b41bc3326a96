"""Rows of measurements that a benchmark goes on with."""

from benchmarks.rows import Rows


def test_rows_go_on_behind_the_last_whole_line(tmp_path):
    path = tmp_path / "new" / "rows.jsonl"
    Rows(path).add({"set": "a", "seed": 0, "rmse": 0.5})
    with path.open("a") as file:
        file.write('{"set": "a", "se')  # Stopped there.
    rows = Rows(path)
    assert rows.find(set="a", seed=0) == {"set": "a", "seed": 0, "rmse": 0.5}
    assert rows.find(set="a", seed=1) is None
    rows.add({"set": "a", "seed": 1})
    rows.add({"set": "b", "seed": 1})
    assert [row["set"] for row in Rows(path).rows] == ["a", "a", "b"]


def test_rows_without_a_file_are_kept_in_memory():
    rows = Rows()
    rows.add({"seed": 0})
    assert rows.find(seed=0) == {"seed": 0}
