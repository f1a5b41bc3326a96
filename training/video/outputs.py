"""Where pictures and rows go: a video, a folder of images, a window, a file of rows.

All of them are context managers, and leave something whole however the block ends: an
interrupt or an error in the middle of a stream leaves a video that plays.
"""

import csv
import json
import os
import pathlib
import re
import uuid
from collections.abc import Iterable, Mapping

import numpy as np

from training.video import opencv

# Codecs of OpenCV by the suffix of a video.
CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
_FRAME = re.compile(r"[0-9]{6,}\.png")  # What images of a stream are called.


class Output:
    """What takes pictures, uint8 arrays of shape `(height, width, 3)`, RGB."""

    has_ended = False  # Whether somebody wants no more of them.

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def write(self, picture: np.ndarray):
        """Takes the next picture, of the same size as the first."""

    def close(self):
        """Finishes what was written."""


class VideoOutput(Output):
    """A video, which has another name until it is finished.

    Args:
        path: Its path, with one of the suffixes of `CODECS`.
        fps: Frames a second.
    """

    def __init__(self, path: pathlib.Path, fps: float):
        self._cv2, self.path, self._fps = opencv.load(), path, fps
        name = f".{path.stem}.{uuid.uuid4().hex[:12]}{path.suffix}"
        self._temporary, self._writer = path.with_name(name), None

    def write(self, picture):
        if self._writer is None:
            self._open(picture)
        self._writer.write(np.ascontiguousarray(picture[..., ::-1]))

    def _open(self, picture):
        height, width = picture.shape[:2]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        codec = self._cv2.VideoWriter_fourcc(*CODECS[self.path.suffix.lower()])
        size = width, height
        name = str(self._temporary)
        self._writer = self._cv2.VideoWriter(name, codec, self._fps, size)
        if not self._writer.isOpened():
            self._writer = None
            raise OSError(
                f"OpenCV cannot write '{self.path}': has the folder room and "
                f"permissions, and OpenCV the codec? Received: {width} x {height} "
                f"pixels, {self._fps:g} frames a second"
            )

    def close(self):
        if self._writer is None:
            self._temporary.unlink(missing_ok=True)
            return
        self._writer.release()
        self._writer = None
        os.replace(self._temporary, self.path)


class FolderOutput(Output):
    """Images `000000.png`, `000001.png` and so on in a folder.

    Those that a longer stream has left behind the last one are deleted at the end.

    Args:
        path: The folder.
    """

    def __init__(self, path: pathlib.Path):
        self.path, self._count = path, 0

    def write(self, picture):
        from PIL import Image

        self.path.mkdir(parents=True, exist_ok=True)
        target = self.path / f"{self._count:06}.png"
        temporary = target.with_name(f".{target.name}")
        Image.fromarray(picture).save(temporary, format="png")
        os.replace(temporary, target)
        self._count += 1

    def close(self):
        if not self._count:
            return
        for path in self.path.iterdir():
            if _FRAME.fullmatch(path.name) and int(path.stem) >= self._count:
                path.unlink()


class Window(Output):
    """A window on the screen, in which the key q ends the stream."""

    def __init__(self, title: str):
        self._cv2, self._title = opencv.load(), title

    def write(self, picture):
        try:
            self._cv2.imshow(self._title, np.ascontiguousarray(picture[..., ::-1]))
            key = self._cv2.waitKey(1)
        except self._cv2.error as error:
            raise ImportError(
                "The installed OpenCV has no windows; replace it: `pip uninstall "
                "opencv-python-headless`, then `pip install opencv-python`. Or write "
                "with --output."
            ) from error
        self.has_ended = key & 0xFF == ord("q")

    def close(self):
        try:
            self._cv2.destroyAllWindows()
        except self._cv2.error:  # It has none.
            return


class Rows(Output):
    """A file with a row for each frame, which is there as soon as the frame is.

    Args:
        path: Its path, which ends in `.jsonl` or `.csv`.
        names: Names of the columns.
    """

    def __init__(self, path: pathlib.Path, names: Iterable[str]):
        self.path, self._names, self._file, self._table = path, list(names), None, None

    def __enter__(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("w", newline="", encoding="utf-8")
        if self.path.suffix.lower() == ".csv":
            self._table = csv.DictWriter(self._file, self._names, lineterminator="\n")
            self._table.writeheader()
        return self

    def write(self, row: Mapping):
        """Takes the row of a frame."""
        if self._table:
            self._table.writerow(row)
        else:
            self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self):
        self._file.close()


def open_output(path: str | os.PathLike, fps: float, overwrite: bool = False) -> Output:
    """Opens a video or a folder for pictures.

    Args:
        path: A video ends in `.mp4`, `.mov`, `.mkv` or `.avi`; a folder has no suffix.
        fps: Frames a second of a video.
        overwrite: Whether to replace a video, or the images of a stream in a folder.

    Raises:
        ValueError: If the path has another suffix.
        FileExistsError: If something lies there.
        ImportError: If a video needs OpenCV, which is not installed.
    """
    path = pathlib.Path(path)
    suffix = path.suffix.lower()
    if suffix and suffix not in CODECS:
        raise ValueError(
            f"A video ends in {', '.join(CODECS)}, and a folder of frames has no "
            f"suffix. Received: output={path}"
        )
    is_full = path.is_dir() and any(path.iterdir())
    if suffix and path.is_dir():
        raise FileExistsError(f"'{path}' is a folder, and was to be a video.")
    if not suffix and path.is_file():
        raise FileExistsError(f"'{path}' is a file, and was to be a folder.")
    _check_new(path, overwrite, is_full or path.is_file())
    return VideoOutput(path, fps) if suffix else FolderOutput(path)


def open_rows(
    path: str | os.PathLike, names: Iterable[str], overwrite: bool = False
) -> Rows:
    """Opens a file for a row of each frame.

    Args:
        path: It ends in `.jsonl` or `.csv`.
        names: Names of the columns.
        overwrite: Whether to replace a file.

    Raises:
        ValueError: If the path has another suffix.
        FileExistsError: If something lies there.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() not in (".jsonl", ".csv"):
        raise ValueError(f"Rows end in .jsonl or .csv. Received: rows={path}")
    _check_new(path, overwrite and not path.is_dir(), path.exists())
    return Rows(path, names)


def _check_new(path, overwrite, is_there):
    if is_there and not overwrite:
        raise FileExistsError(f"{path} exists; `overwrite` replaces it.")
