"""Streams of frames: sources, outputs, pictures and the loop."""

import csv
import json
import math

import numpy as np
import pytest
from PIL import Image

from training import progress, video
from training.report.maps import colors
from training.video import opencv, outputs, sources, stream
from training.video.pictures import Pictures, summary

CLASSES = ("dark", "middle", "bright")


class Brightness:
    """A stream whose prediction is the brightness of each pixel, of the frame alone."""

    image_shape, classes, num_classes = (6, 8, 1), CLASSES, 3

    def __init__(self, of_pixels=True):
        self.of_pixels, self.seen = of_pixels, []

    def initial_state(self, seed=0):
        return {"count": 0, "seed": seed}

    def reset(self, state):
        return {**state, "count": 0}

    def step(self, frame, state):
        assert frame.shape == self.image_shape
        assert frame.dtype == np.uint8
        self.seen.append(frame)
        classes = np.digitize(frame[..., 0], (85, 170))
        probs = 0.7 * np.eye(3)[classes] + 0.1
        probs = probs if self.of_pixels else probs.mean(axis=(0, 1))
        return probs, {**state, "count": state["count"] + 1}


def picture(level, size=(12, 16)):
    """A frame of one gray level, whose right half is darker."""
    pixels = np.full((*size, 3), level, "uint8")
    pixels[:, size[1] // 2 :] //= 3
    return pixels


def folder(path, names, size=(12, 16)):
    path.mkdir()
    for number, name in enumerate(names):
        Image.fromarray(picture(60 * number + 20, size)).save(path / name)
    return path


def movie(path, count=6, size=(48, 64)):
    with outputs.VideoOutput(path, 5) as output:
        for number in range(count):
            output.write(picture(20 * (number % 6) + 100, size))
    return path


def names_in(place):
    return [frame.name for frame in video.open_source(place).frames()]


def test_a_folder_is_read_in_the_order_of_its_numbers_and_says_where_cuts_are(tmp_path):
    names = ["a_10.png", "a_9.png", "b_1.png", "a_11.png"]
    place = folder(tmp_path / "frames", names)
    (place / "notes.txt").write_text("no frame")
    (place / "._a_9.png").write_bytes(b"Mac OS X")  # As macOS copies to other disks.
    (place / "folder.png").mkdir()
    source = video.open_source(place)
    assert (source.total, source.fps) == (4, None)
    frames = list(source.frames())
    assert [f.name for f in frames] == ["a_9.png", "a_10.png", "a_11.png", "b_1.png"]
    assert [f.begins for f in frames] == [False, False, False, True]
    np.testing.assert_array_equal(frames[0].pixels, picture(80))
    assert len(list(source.frames(limit=2))) == 2


def test_rows_and_pictures_are_of_the_frames(tmp_path):
    place = folder(tmp_path / "frames", ["a1.png", "a2.png", "b1.png", "b2.png"])
    model = Brightness()
    for end in ("jsonl", "csv"):
        rows = video.open_rows(tmp_path / f"rows.{end}", stream.COLUMNS)
        written = video.open_output(tmp_path / f"out_{end}", 10)
        source = video.open_source(place)
        found = video.run_stream(model, source, [written], rows, seed=3)
    assert (found["frames"], found["resets"]) == (4, 1)
    assert found["fps"] > 0
    assert found["network_fps"] >= found["fps"]
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["reset"] for row in rows] == [True, False, True, False]
    assert [row["prediction"] for row in rows] == ["dark", "dark", "dark", "dark"]
    # The left half of the last frame is bright, the right half dark.
    expected = -(0.8 * np.log(0.8) + 0.2 * np.log(0.1))
    assert rows[3]["entropy"] == pytest.approx(expected, abs=1e-6)
    assert rows[3]["confidence"] == pytest.approx(0.8)
    with (tmp_path / "rows.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [{k: str(v) for k, v in row.items()} for row in rows] == table
    files = sorted(path.name for path in (tmp_path / "out_csv").iterdir())
    assert files == [f"{n:06}.png" for n in range(4)]
    drawn = np.asarray(Image.open(tmp_path / "out_csv" / files[3]))
    # Panels are of the frame's shape, enlarged until words can be read.
    height, width = 180, 240
    assert drawn.shape == (198, 3 * width, 3)
    np.testing.assert_array_equal(drawn[:height:15, :width:15], picture(200))
    mask = drawn[:height, width : 2 * width]
    table = colors(3)
    np.testing.assert_array_equal(mask[90, [10, 230]], table[[2, 0]])
    gray = round(255 * expected / np.log(3))
    assert (drawn[:height, 2 * width :] == gray).all()


def test_a_shorter_stream_replaces_all_images_of_a_longer_one(tmp_path):
    place = tmp_path / "out"
    for count in (3, 2, 0):
        with video.open_output(place, 10, overwrite=True) as output:
            for _ in range(count):
                output.write(picture(50 * count))
        (place / "cover.png").write_text("of somebody else")
    names = sorted(path.name for path in place.iterdir())
    assert names == ["000000.png", "000001.png", "cover.png"]
    drawn = np.asarray(Image.open(place / "000001.png"))
    np.testing.assert_array_equal(drawn, picture(100))


def test_predictions_of_frames_are_bars_and_a_curve():
    pictures = Pictures(CLASSES)
    probs = np.array([0.5, 0.25, 0.25])
    assert summary(probs, CLASSES) == {
        **{"prediction": "dark", "confidence": 0.5},
        "entropy": round(1.5 * math.log(2), 6),
    }
    drawn = [pictures(picture(50), p) for p in (probs, np.eye(3)[1], probs)][-1]
    bars, curve = drawn[:180, 240:480], drawn[:180, 480:]
    blue = (bars == [76, 114, 176]).all(axis=-1)
    lengths = sorted({int(n) for n in blue.sum(axis=1)} - {0})
    assert lengths == [58, 115]  # Of 228 points, with the first one.
    red = (curve == [196, 78, 82]).all(axis=-1)
    assert red[:, 0].any()
    # It ends where it began, and was at the bottom between.
    assert np.flatnonzero(red.any(axis=1)).max() > 150


def test_a_video_is_written_whole_and_read_again(tmp_path):
    for end in (".avi", ".mp4"):
        path = movie(tmp_path / f"a{end}")
        source = video.open_source(path)
        assert (source.fps, source.total) == (5, 6)
        frames = list(source.frames())
        assert [f.name for f in frames][:3] == ["0.000", "0.200", "0.400"]
        for number, frame in enumerate(frames):
            expected = picture(20 * number + 100, (48, 64)).mean()
            assert frame.pixels.mean() == pytest.approx(expected, abs=6)
    colored = tmp_path / "red.avi"
    with outputs.VideoOutput(colored, 5) as output:
        output.write(np.full((48, 64, 3), (200, 30, 20), "uint8"))
    (frame,) = video.open_source(colored).frames()
    np.testing.assert_allclose(frame.pixels.mean(axis=(0, 1)), (200, 30, 20), atol=4)


class Ending(sources.Source):
    """Frames that end by an error."""

    def __init__(self, error, count=4):
        super().__init__("ending", 5)
        self.error, self.count = error, count

    def read(self):
        for number in range(self.count):
            yield sources.Frame(str(number), picture(150, (48, 64)))
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("gone")])
def test_a_stream_that_stops_leaves_a_video_that_plays(tmp_path, error):
    for path, count in ((tmp_path / "a.mp4", 4), (tmp_path / "none.mp4", 0)):
        written = video.open_output(path, 5)
        rows = video.open_rows(tmp_path / f"{count}.jsonl", stream.COLUMNS)
        with pytest.raises(type(error)):
            video.run_stream(Brightness(), Ending(error, count), [written], rows)
        assert len((tmp_path / f"{count}.jsonl").read_text().splitlines()) == count
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["0.jsonl", "4.jsonl", "a.mp4"]
    assert len(names_in(tmp_path / "a.mp4")) == 4


def test_a_video_that_is_cut_off_says_so(tmp_path, caplog):
    path = movie(tmp_path / "a.avi", count=40)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with caplog.at_level("WARNING"):
        count = len(names_in(path))
    assert 0 < count < 40
    assert f"ends after {count} of 40 frames: it is cut off" in caplog.text


def test_what_has_no_frames_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.mp4").write_text("not a video")
    cut = movie(tmp_path / "cut.mp4")
    cut.write_bytes(cut.read_bytes()[:-200])  # Without its index.
    mixed = folder(tmp_path / "mixed", ["1.png", "2.png"])
    Image.fromarray(picture(9, (14, 16))).save(mixed / "3.png")
    damaged = folder(tmp_path / "damaged", ["1.png"])
    (damaged / "2.png").write_bytes(b"no image")
    for name, kind, message in (
        ("empty", FileNotFoundError, "holds no frames, images such as frame_0001.png"),
        ("nowhere", FileNotFoundError, "no video and no folder of frames 'nowhere'"),
        ("notes.mp4", ValueError, "OpenCV cannot read .*notes.mp4': it is no video"),
        ("cut.mp4", ValueError, "cut off before its index was written"),
        ("mixed", ValueError, "Frame 2 of .*3.png.*Received: 16 x 14 after 16 x 12"),
        ("damaged", ValueError, "Cannot read the image '.*2.png'"),
        ("99", OSError, "Camera 99 cannot be opened: is it connected"),
    ):
        place = tmp_path / name if (tmp_path / name).exists() else name
        with pytest.raises(kind, match=message):
            names_in(place)


class Camera:
    """What OpenCV gives of a camera that is pulled out."""

    def __init__(self, number):
        self.left, self.released = 3, False

    def isOpened(self):  # noqa: N802
        return True

    def get(self, _):
        return 30.0

    def read(self):
        self.left -= 1
        return (True, picture(40)) if self.left >= 0 else (False, None)

    def release(self):
        self.released = True


def test_a_camera_that_is_gone_ends_with_an_error(monkeypatch):
    monkeypatch.setattr(opencv.load(), "VideoCapture", Camera)
    monkeypatch.setattr(sources, "_PAUSE", 0)
    source = video.open_source("0")
    assert (source.fps, source.total) == (30, math.inf)
    frames = source.frames()
    assert [next(frames).pixels.shape for _ in range(3)] == [(12, 16, 3)] * 3
    with pytest.raises(OSError, match="camera 0 is gone: it gave no frame after 3"):
        next(frames)
    assert source._capture.released


def test_outputs_are_checked_before_they_are_written(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "0.png").write_text("x")
    (tmp_path / "a.mp4").write_text("x")
    (tmp_path / "file").write_text("x")
    for name, kind, message in (
        ("a.gif", ValueError, "A video ends in .mp4, .mov, .mkv, .avi"),
        ("a.mp4", FileExistsError, "exists; `overwrite` replaces it"),
        ("full", FileExistsError, "exists; `overwrite` replaces it"),
        ("file", FileExistsError, "is a file, and was to be a folder"),
    ):
        with pytest.raises(kind, match=message):
            video.open_output(tmp_path / name, 5)
    video.open_output(tmp_path / "a.mp4", 5, overwrite=True)
    with pytest.raises(ValueError, match="Rows end in .jsonl or .csv"):
        video.open_rows(tmp_path / "rows.txt", stream.COLUMNS)
    (tmp_path / "rows.csv").write_text("x")
    with pytest.raises(FileExistsError, match="`overwrite` replaces it"):
        video.open_rows(tmp_path / "rows.csv", stream.COLUMNS)
    with pytest.raises(ValueError, match="gray or RGB.*image_shape=\\(6, 8, 2\\)"):
        stream.fit(picture(3), (6, 8, 2))
    free = stream.fit(picture(3), (None, None, 3))
    np.testing.assert_array_equal(free, picture(3))


def test_a_window_needs_an_opencv_that_has_some():
    cv2 = opencv.load()
    if "NONE" not in cv2.getBuildInformation().partition("GUI:")[2][:60]:
        pytest.skip("this OpenCV has windows")
    with outputs.Window("x") as window, pytest.raises(ImportError, match="no windows"):
        window.write(picture(3))


def test_without_opencv_errors_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(ImportError, match="pip install opencv-python-headless"):
        video.open_source(tmp_path / "a.mp4")
    place = folder(tmp_path / "frames", ["1.png"])
    assert names_in(place) == ["1.png"]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_progress_of_a_camera_has_no_end(monkeypatch, caplog, capsys, is_terminal):
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    caplog.set_level("INFO", logger="absl")
    with progress.track("Stream", math.inf, period=0, unit="frames") as done:
        done(3)
    assert ("Stream: 3 of ? frames, " in caplog.text) is not is_terminal
    assert is_terminal or caplog.text.rstrip().endswith("frames/s, ? s left")
