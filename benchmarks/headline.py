"""What smoothing and fast prediction save together, on the packaged weights."""

from benchmarks import rounds

# Backbone and data set of the packaged weights, the network of the paper first.
WEIGHTS = (
    ("resnet18", "cifar100"),
    ("resnet20", "fashion_mnist"),
    ("resnet18", "fashion_mnist"),
)


def headline(backbone: str, dataset: str, count: int) -> str:
    """Returns the sentence about the packaged weights, from `count` rounds.

    Args:
        backbone: Its name.
        dataset: What the weights were trained on; see `WEIGHTS`.
        count: Number of rounds to measure.
    """
    import tensorflow as tf

    import zoo
    from zoo.presets import index

    names = [f"{backbone}_{method}.{dataset}" for method in ("mcdo", "smooth_mcdo")]
    nlls = [
        {row["num_samples"]: row["value"] for row in rows if of(row, dataset)}
        for rows in (index.read()[name].results for name in names)
    ]
    most = max(nlls[0])
    fewest = min(n for n, nll in nlls[1].items() if nll <= nlls[0][most])
    models = [zoo.load(name) for name in names]
    text = f"`{names[0]}` has the NLL {nlls[0][most]:.4f} with {most} passes, "
    text += f"`{names[1]}` {nlls[1][fewest]:.4f} with {fewest}: "
    for batch in (1, 8, 64):
        images = tf.random.uniform((batch, *models[0].input_shape[1:])) * 255
        compiled = tf.function(models[0], autograph=False)
        posterior = zoo.posterior.MonteCarlo(models[1], fewest)

        def loop(images=images, compiled=compiled):
            return tf.stack([compiled(images) for _ in range(most)]).numpy()

        def ours(images=images, posterior=posterior):
            return posterior(images).numpy()

        steps = {"ours": rounds.local(ours), "loop": rounds.local(loop)}
        times = rounds.measure(steps, count, 1.0)
        wall, used = rounds.ratio(times, "ours", "loop")
        text += f"{wall:.1f} ({used:.1f}) times as fast at batch {batch}, "
    return text.removesuffix(", ") + ".\n"


def of(row: dict, dataset: str) -> bool:
    """Returns whether a result is the NLL on the clean test images."""
    return (row["dataset"], row["metric"]) == (dataset, "nll")
