r"""Shows the product at work on the packaged weights and images.

Example:

    python -m training.cli.demo --output=demo
"""

import pathlib
import time

from absl import flags

from training.cli import common, quiet

_OUTPUT = flags.DEFINE_string(
    "output", "demo", "Folder to write pictures, tables and exports to, e.g. runs/demo."
)
flags.register_validator("output", common.is_local, common.LOCAL)
_LIMIT = flags.DEFINE_integer(
    "limit", 1000, "Number of test images to use, e.g. 200.", lower_bound=16
)


def main():
    """Runs the tour and says where its files lie."""
    from rich import console

    import zoo
    from training import data, report
    from training.cli import demo_tour

    begin, screen = time.monotonic(), console.Console()
    output = pathlib.Path(_OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    test = data.load("fashion_mnist", "test").take(_LIMIT.value)
    screen.rule(f"1  {len(test)} test images of Fashion-MNIST, ten passes each")
    model = zoo.load("resnet20_smooth_mcdo.fashion_mnist")
    probs, entropy, information = demo_tour.classify(model, test, num_samples=10)
    right = probs.argmax(axis=-1) == test.labels
    demo_tour.plot_certainty(test, probs, entropy, output / "certainty.png")
    for name, mask in (("right", right), ("wrong", ~right)):
        screen.print(
            f"{mask.sum():5d} {name}: mean entropy {entropy[mask].mean():.3f} nats, "
            f"mutual information {information[mask].mean():.4f} nats"
        )
    screen.rule("2  Quality against the number of forward passes")
    screen.print(report.rich_table(demo_tour.compare(test, output)))
    for line in demo_tour.explanations():
        screen.print(line, highlight=False)
    screen.rule("3  Export, compared with Keras")
    with quiet.without_chatter():
        results = demo_tour.export_both(model, test, output)
    for result in results:
        screen.print(
            f"{result['path']}: {result['bytes'] / 1e6:.2f} MB, largest difference of "
            f"a probability {result['max_difference']:.1e} at batch sizes "
            f"{', '.join(map(str, result['batch_sizes']))}"
        )
    screen.rule(f"Done in {time.monotonic() - begin:.0f} seconds")
    for path in sorted(output.iterdir()):
        screen.print(f"{path}", highlight=False, soft_wrap=True)
    demo_tour.print_next(screen)


def run():
    """Entry point of `make demo`."""
    common.run(main)


if __name__ == "__main__":
    run()
