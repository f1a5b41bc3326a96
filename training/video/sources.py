"""Where frames come from: a video, a folder of images, or a camera."""

import dataclasses
import math
import os
import pathlib
import re
import time
from collections.abc import Iterator

import numpy as np
from absl import logging

from training.data.readers import class_folders, image_files
from training.video import opencv

_TRIES = 20  # Readings of a camera without a frame, before it is gone.
_PAUSE = 0.05  # Seconds between them.


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame of a stream.

    Attributes:
        name: What rows call it: the name of a file, or seconds since the beginning.
        pixels: uint8 array of shape `(height, width, 3)`, RGB.
        begins: Whether its name says that a scene begins with it.
    """

    name: str
    pixels: np.ndarray
    begins: bool = False


class Source:
    """Frames one by one.

    Attributes:
        name: What errors call it.
        fps: Frames a second; None if nothing says that.
        total: How many frames there are; infinite if nothing says that.
    """

    def __init__(self, name: str, fps: float | None = None, total: float = math.inf):
        self.name, self.fps, self.total = name, fps, total

    def read(self) -> Iterator[Frame]:
        """Yields the frames, whatever their sizes are."""
        raise NotImplementedError

    def frames(self, limit: float = math.inf) -> Iterator[Frame]:
        """Yields frames of one size.

        Args:
            limit: How many of them at most.

        Raises:
            ValueError: If one is damaged, or of another size than the first.
            OSError: If a camera is gone.
        """
        size = None
        for number, frame in enumerate(self.read()):
            height, width = frame.pixels.shape[:2]
            if size not in (None, (height, width)):
                raise ValueError(
                    f"Frame {number} of '{self.name}', {frame.name}, has another size "
                    "than those before, and a stream has frames of one size. Received: "
                    f"{width} x {height} after {size[1]} x {size[0]} pixels"
                )
            size = height, width
            yield frame
            if number + 1 >= limit:
                return


class Folder(Source):
    """Image files in the order of the numbers in their names.

    What stands before the last number of a name is that of a sequence, and where it
    changes a scene begins: `0001TP_008580.png`, and then `Seq05VD_f00000.png`. Hidden
    files do not count.
    """

    def __init__(self, path: pathlib.Path):
        files = class_folders.files_in(path, depth=0)
        listed = list(filter(class_folders.is_image, files))
        if not listed:
            raise FileNotFoundError(
                f"The folder '{path}' holds no frames, images such as frame_0001.png. "
                f"Received: {len(list(path.iterdir()))} other files and folders"
            )
        self.paths = sorted(listed, key=lambda p: natural(p.name))
        super().__init__(str(path), None, len(self.paths))

    def read(self):
        last = None
        for path in self.paths:
            sequence = sequence_of(path.stem)
            begins = last is not None and sequence != last
            yield Frame(path.name, image_files.read_whole(path), begins)
            last = sequence


def natural(name: str) -> list:
    """Returns what names are sorted by, numbers by their values.

    Example:

    >>> sorted(["f10", "f9", "e10"], key=natural)
    ['e10', 'f9', 'f10']
    """
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if part.isdecimal() else part for part in parts]


def sequence_of(stem: str) -> str:
    """Returns the name of the sequence that a frame is of, without its number.

    Example:

    >>> sequence_of("0001TP_008580"), sequence_of("f7_left"), sequence_of("12")
    ('0001TP_', 'f_left', '')
    """
    return re.sub(r"[0-9]+(?=[^0-9]*$)", "", stem)


class Video(Source):
    """A video file, read by OpenCV."""

    def __init__(self, path: pathlib.Path):
        cv2 = opencv.load()
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise ValueError(
                f"OpenCV cannot read '{path}': it is no video, is damaged, or was cut "
                "off before its index was written."
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        super().__init__(
            str(path),
            fps if 0 < fps < 1000 else None,
            int(count) if count > 0 else math.inf,
        )

    def read(self):
        number = 0
        try:
            while True:
                is_there, pixels = self._capture.read()
                if not is_there:
                    break
                seconds = number / self.fps if self.fps else number
                yield Frame(f"{seconds:.3f}", np.ascontiguousarray(pixels[..., ::-1]))
                number += 1
        finally:
            self._capture.release()
        if not number:
            raise ValueError(f"'{self.name}' has no frame that OpenCV can read.")
        # What a header says may be an estimate.
        if self.total - number > max(2, 0.01 * number) and self.total < math.inf:
            logging.warning(
                "'%s' ends after %d of %d frames: it is cut off or damaged.",
                *(self.name, number, self.total),
            )


class Camera(Source):
    """A camera by its number, read by OpenCV until it is gone."""

    def __init__(self, number: int):
        cv2 = opencv.load()
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise OSError(
                f"Camera {number} cannot be opened: is it connected, and used by no "
                f"other program? Received: input={number}"
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        super().__init__(f"camera {number}", fps if 0 < fps < 1000 else None)

    def read(self):
        start, missed, number = time.monotonic(), 0, 0
        try:
            while missed < _TRIES:
                is_there, pixels = self._capture.read()
                if not is_there:
                    missed += 1
                    time.sleep(_PAUSE)
                    continue
                missed, number = 0, number + 1
                seconds = time.monotonic() - start
                yield Frame(f"{seconds:.3f}", np.ascontiguousarray(pixels[..., ::-1]))
        finally:
            self._capture.release()
        raise OSError(f"The {self.name} is gone: it gave no frame after {number}.")


def open_source(place: str | os.PathLike) -> Source:
    """Opens what has frames.

    Args:
        place: Path of a video file or of a folder of images, or the number of a camera.

    Raises:
        FileNotFoundError: If nothing is there, or a folder has no images.
        ValueError: If it is no video.
        OSError: If there is no such camera.
        ImportError: If it needs OpenCV, which is not installed.
    """
    path = pathlib.Path(place)
    if path.is_dir():
        return Folder(path)
    if path.is_file():
        return Video(path)
    if str(place).isdecimal():
        return Camera(int(place))
    raise FileNotFoundError(
        f"There is no video and no folder of frames '{place}'; a camera has a number, "
        "such as 0."
    )
