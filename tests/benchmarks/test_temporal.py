"""The benchmark of streams: drives, changing frames, and that its tables are made."""

import numpy as np
import pytest

from benchmarks import temporal
from tests.helpers import scenes


def test_drives_are_what_the_names_say():
    names = ["a_1", "a_2", "b_7", "b_8", "b_9", "a_3"]
    assert temporal.drives(names) == [range(2), range(2, 5), range(5, 6)]
    assert temporal.plain_of("unet16_smooth_mcdo50.camvid") == "unet16_smooth.camvid"


def test_conditions_change_from_frame_to_frame():
    frames = np.full((20, 16, 16, 3), 100, "uint8")
    assert temporal.changed(frames, "clean") is frames
    for condition in temporal.CONDITIONS[1:]:
        found = temporal.changed(frames, condition)
        np.testing.assert_array_equal(found, temporal.changed(frames, condition))
        assert len({frame.tobytes() for frame in found}) > 12
        other = temporal.changed(frames, condition, seed=1)
        assert not np.array_equal(found, other)
    levels = temporal.changed(frames, "flicker")[:, 0, 0, 0] / 100
    assert 0.2 < np.std(np.log(levels)) < 0.6


@pytest.mark.slow
def test_all_forms_are_measured(tmp_path, capsys):
    data = scenes.scenes(6, (32, 48))
    for split in ("train", "val", "test"):
        masks = np.where(data.labels < 0, 3, data.labels)
        scenes.write(tmp_path / "drive", split, data.images, masks)
    (tmp_path / "drive" / "classes.txt").write_text("dark\nmiddle\nbright\n")
    arguments = [f"--dataset={tmp_path / 'drive'}", "--model=unet_resnet20_mcdo50"]
    arguments += ["--passes=3", "--rounds=1", "--seconds=0", "--tflite", "--limit=4"]
    arguments += ["--conditions", "clean", "fog", "--rates", "0.8", "2"]
    temporal.main([*arguments, f"--output={tmp_path / 'rows.jsonl'}"])
    printed = capsys.readouterr().out
    for form in ("DNN", "BNN, 3 passes", "VQ-DNN, rate 2", "VQ-BNN, rate 0.8"):
        assert f"| fog | {form} |" in printed
    for form in ("VQ-BNN", "a loop of 3 passes", "VQ-BNN, LiteRT on one thread"):
        assert f"| {form} | " in printed
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 12
