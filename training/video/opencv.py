"""OpenCV, which videos, cameras and windows need, and folders of frames do not."""

import os


def load():
    """Returns the module `cv2`, which says nothing by itself.

    Raises:
        ImportError: If it is not installed.
    """
    # What is wrong with a file, errors say.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            f"{error}. Videos and cameras need OpenCV: `pip install "
            "opencv-python-headless`. A folder of frames needs none."
        ) from error
    return cv2
