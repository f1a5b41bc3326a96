r"""Predicts the frames of a video, a folder or a camera, with uncertainty.

Each frame takes one pass of the network, and predictions are means over the last
frames, as zoo.posterior.Temporal has them. What stops in the middle leaves a video that
plays.

Examples:

    zoo-stream --model=unet_mcdo50 --weights=runs/unet_mcdo50 --input=drive.mp4 \
        --output=predicted.mp4 --rows=predicted.jsonl
    zoo-stream --model=resnet20_mcdo.fashion_mnist@temporal:rate=0.4:cut=0.5 \
        --input=frames --output=pictures
"""

import math
import signal

from absl import flags, logging

from training.cli import common, names

_MODEL = flags.DEFINE_string(
    "model",
    None,
    "Model of the stream: a name or a .keras file, with settings behind @temporal, "
    "e.g. resnet20_mcdo@temporal:rate=0.4:cut=0.5; or what zoo-export wrote of one.",
    required=True,
)
_WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "Weights to load: a file, or a folder of zoo-train, e.g. runs/mine.",
)
_INPUT = flags.DEFINE_string(
    "input",
    None,
    "Video file, folder of images in the order of the numbers in their names, or "
    "number of a camera, e.g. 0.",
    required=True,
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Video (.mp4, .mov, .mkv, .avi) or folder to write frames to, beside predictions "
    "and uncertainty, e.g. predicted.mp4.",
)
_ROWS = flags.DEFINE_string(
    "rows",
    None,
    "File with a row for each frame to write, .jsonl or .csv, e.g. predicted.csv.",
)
for _name in ("output", "rows"):
    flags.register_validator(_name, common.is_local, common.LOCAL)
_SHOW = flags.DEFINE_bool(
    "show", False, "Whether to show the frames in a window, in which q ends."
)
_FPS = flags.DEFINE_float(
    "fps",
    None,
    "Frames a second of the video that is written, e.g. 30; default: those of the "
    "input, or 10 where nothing says them.",
    lower_bound=0.1,
)
_LIMIT = flags.DEFINE_integer(
    "limit", None, "Number of frames to end after, e.g. 300.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the draws.", lower_bound=0)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite", False, "Whether to replace an existing output."
)


def main():
    """Runs the stream and says how fast it was, and what it wrote."""
    names.check([_MODEL.value])
    signal.signal(signal.SIGTERM, _interrupt)
    logging.set_verbosity(logging.INFO)
    from training import video
    from training.video import outputs
    from training.video.stream import COLUMNS

    source = video.open_source(_INPUT.value)
    fps, replaces = _FPS.value or source.fps or 10.0, _OVERWRITE.value
    # Before anything takes time.
    written = [video.open_output(_OUTPUT.value, fps, replaces)] if _OUTPUT.value else []
    rows = video.open_rows(_ROWS.value, COLUMNS, replaces) if _ROWS.value else None
    shown = [outputs.Window("zoo-stream")] if _SHOW.value else []
    found = video.run_stream(
        _posterior(_MODEL.value, _WEIGHTS.value),
        source,
        [*written, *shown],
        rows,
        seed=_SEED.value,
        limit=_LIMIT.value or math.inf,
    )
    print(
        f"{found['frames']} frames, {found['fps']:.3g} frames/s (the network alone: "
        f"{found['network_fps']:.3g}), {found['resets']} resets"
    )
    for path in filter(None, (_OUTPUT.value, _ROWS.value)):
        print(f"Wrote {path}")


def _posterior(name, weights):
    """Returns the stream of a name, or that in a file."""
    from training.runtimes import streams
    from zoo.posterior import Temporal

    if streams.is_stream(name):
        if weights:
            raise ValueError(
                f"'{name}' has its own weights. Received: weights={weights}"
            )
        return streams.open_stream(name)
    model = common.load_model(name if "@" in name else f"{name}@temporal", weights)
    if not isinstance(model, Temporal):
        raise ValueError(
            "A stream takes one pass of each frame, `@temporal`, and no other "
            f"posterior. Received: model={name}"
        )
    return model


def _interrupt(number, frame):
    raise KeyboardInterrupt


def run():
    """Entry point of the `zoo-stream` command."""
    common.run(main)


if __name__ == "__main__":
    run()
