r"""Hours, money and storage of a large evaluation, from the speed of one device.

    python -m benchmarks.scale_plan --rate=1000 --price=2.5
    python -m benchmarks.scale_plan --measure

The first command prints Markdown for a corruption benchmark such as ImageNet-C: 75 sets
of 50,000 images, 5 models, N = 10. `--rate` is how many images a second one device
passes through the model once, and `--price` what an hour of it costs, in any currency;
`--metrics` is the seconds that metrics of one set and model take, and `--decode` the
images that one core decodes in a second. `--measure` measures these three here: a pass
of `resnet50_smooth_mcdo` at 224 x 224, by images and passes in one call as evaluations
make it, metrics of 1,000 classes, and JPEG files of one quality.
"""

import argparse
import dataclasses
import io
import os
import statistics
import time

import numpy as np

_FLOAT = 4  # Bytes of a value in files of predictions.
_HEADER = 128  # Bytes of the header of such a file.
_SCORES = 3  # Values of an image and a size beside its probabilities.
_FILES = 7  # Arrays of predictions, their description and the lock.


@dataclasses.dataclass(frozen=True)
class Plan:
    """An evaluation of models on data sets of one size.

    Attributes:
        rate: Images a second that one device passes through a model once.
        sets: Number of data sets.
        images: Number of images in each.
        models: Number of models.
        samples: Forward passes of each image and model.
        sizes: How many ensemble sizes are stored.
        classes: Number of classes.
        side: Height and width of decoded images.
        jpeg: Bytes of an encoded image.
        efficiency: What devices together do, over what each does alone.
        metrics: Seconds that the driver takes for the metrics of a set and a model.
        decode: Images that one core decodes in a second.
        price: Of one device for an hour.
    """

    rate: float
    sets: int = 75
    images: int = 50_000
    models: int = 5
    samples: int = 10
    sizes: int = 2
    classes: int = 1000
    side: int = 224
    jpeg: float = 15_000.0
    efficiency: float = 0.9
    metrics: float = 3.4
    decode: float = 1500.0
    price: float = 2.5

    @property
    def passes(self) -> int:
        """Forward passes of an image, all together."""
        return self.sets * self.images * self.models * self.samples

    @property
    def pixels(self) -> int:
        """Bytes of one decoded image."""
        return 3 * self.side**2

    @property
    def stored(self) -> int:
        """Bytes of the predictions of a set and a model."""
        of_an_image = self.sizes * (self.classes + _SCORES) + 1
        return self.images * of_an_image * _FLOAT + (2 + _SCORES) * _HEADER

    @property
    def files(self) -> int:
        """Files of predictions, all together."""
        return self.sets * self.models * _FILES

    def hours(self, devices: int) -> float:
        """Returns the hours that devices take, or the metrics if these take longer."""
        passed = self.passes / (self.rate * self._together(devices))
        return max(passed, self.metrics * self.sets * self.models) / 3600

    def money(self, devices: int) -> float:
        """Returns what these hours cost."""
        return devices * self.hours(devices) * self.price

    def reads(self, devices: int) -> float:
        """Returns the images a second that devices need; each model reads all."""
        return self.rate * self._together(devices) / self.samples

    def _together(self, devices):
        return devices * self.efficiency if devices > 1 else 1


def tables(plan: Plan, devices: list[int]) -> str:
    """Returns what a plan takes, as Markdown."""
    count = plan.sets * plan.images
    lines = [
        f"{plan.passes / 1e6:,.1f} million passes. Storage: images {count / 1e6:.2f} "
        f"million, {count * plan.jpeg / 1e9:,.0f} GB as JPEG or "
        f"{count * plan.pixels / 1e9:,.0f} GB as uint8; predictions "
        f"{plan.sets * plan.models * plan.stored / 1e9:,.0f} GB in {plan.files:,} "
        f"files, {plan.stored / 1e6:,.0f} MB for each set and model.",
        "",
        "| devices | hours | price | images/s | JPEG MB/s | uint8 MB/s | cores to "
        "decode | predictions MB/s | metrics, of the time |",
        "|" + " ---: |" * 9,
    ]
    for number in devices:
        reads, hours = plan.reads(number), plan.hours(number)
        written = reads * plan.stored / plan.images
        share = plan.metrics * plan.sets * plan.models / 3600 / hours
        lines.append(
            f"| {number} | {hours:,.1f} | {plan.money(number):,.0f} | {reads:,.0f} | "
            f"{reads * plan.jpeg / 1e6:,.1f} | {reads * plan.pixels / 1e6:,.1f} | "
            f"{reads / plan.decode:,.1f} | {written / 1e6:,.1f} | {share:.0%} |"
        )
    return "\n".join(lines)


def _timed(work, rounds):
    """Returns medians of seconds and of processor seconds."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    return [statistics.median(column) for column in zip(*times, strict=True)]


def measure(name: str, side: int, samples: int, count: int, rounds: int) -> str:
    """Returns what a plan is made of, measured here, as Markdown."""
    import zoo
    from training.data.readers import image_files
    from training.evaluation import evaluate, predictions
    from training.evaluation.sampling import Passes
    from training.versions import current_commit

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, side, side, 3), "uint8")
    passes = Passes(
        zoo.build(name, (side, side, 3), 1000), (1, samples), seed=0, batch_size=count
    )

    def passed():
        for _ in passes.batches(images):
            pass

    passed()  # It is compiled.
    speeds = [count * samples / seconds for seconds in _timed(passed, rounds)]

    size = 10_000
    probs = rng.dirichlet(np.full(1000, 0.01), size).astype("float32")[None]
    scores = {k: probs[:, :, 0] for k in ("mutual_information", "energy", "max_logit")}
    meta = {"model": name, "dataset": "noise", "sizes": [1], "count": size}
    meta |= {"seed": 0, "seconds": 0.0}
    arrays = {"labels": rng.integers(0, 1000, size), "probs": probs, **scores}
    stored = predictions.of_arrays(meta, arrays)
    metrics = [2 * 5 * x for x in _timed(lambda: evaluate.rows(stored), rounds)]

    from PIL import Image

    # Smooth noise, whose files are about as large as those of photographs.
    coarse = rng.integers(0, 256, (side // 8, side // 8, 3), "uint8")
    file = io.BytesIO()
    Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(
        file, "JPEG", quality=85
    )

    def decoded():
        for _ in range(50):
            image_files.decode_image(io.BytesIO(file.getvalue()), (side, side), "noise")

    decode = [50 / seconds for seconds in _timed(decoded, rounds)]
    rows = {
        f"passes/s of `{name}`, N = {samples}, batch {count}": speeds,
        "s of metrics of 50,000 images, 1,000 classes, two sizes": metrics,
        f"JPEG images/s, {len(file.getvalue()):,} bytes each": decode,
    }
    lines = [f"| commit {current_commit()[:7]}, {os.cpu_count()} cores | | of a core |"]
    lines += ["| --- | ---: | ---: |"]
    lines += [f"| {k} | {a:,.1f} | {b:,.1f} |" for k, (a, b) in rows.items()]
    return "\n".join(lines)


def main():
    """Prints a plan, or measures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for field in dataclasses.fields(Plan):
        default = None if field.default is dataclasses.MISSING else field.default
        parser.add_argument(f"--{field.name}", type=field.type, default=default)
    parser.add_argument("--devices", default="1,8,64")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--model", default="resnet50_smooth_mcdo")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    if flags.measure:
        settings = flags.side, flags.samples, flags.batch, flags.rounds
        print(measure(flags.model, *settings))
        return
    if flags.rate is None:
        parser.error("give --rate, the images a second of one device, or --measure")
    values = {f.name: getattr(flags, f.name) for f in dataclasses.fields(Plan)}
    print(tables(Plan(**values), list(map(int, flags.devices.split(",")))))


if __name__ == "__main__":
    main()
