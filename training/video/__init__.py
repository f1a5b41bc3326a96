"""Streams of frames: where they come from, what is drawn of them, where that goes."""

from training.video.outputs import open_output as open_output
from training.video.outputs import open_rows as open_rows
from training.video.sources import open_source as open_source
from training.video.stream import run_stream as run_stream
