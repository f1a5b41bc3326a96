"""What smoothing and fast prediction save together, on the packaged weights."""

from benchmarks import rounds

BACKBONES = "resnet20", "resnet18"


def headline(backbone: str, count: int) -> str:
    """Returns the sentence about the packaged weights, from `count` rounds.

    Args:
        backbone: One of `BACKBONES`.
        count: Number of rounds to measure.
    """
    import tensorflow as tf

    import zoo
    from zoo.presets import index

    names = [f"{backbone}_{method}.fashion_mnist" for method in ("mcdo", "smooth_mcdo")]
    nlls = [
        {r["num_samples"]: r["value"] for r in index.read()[name].results if of(r)}
        for name in names
    ]
    most = max(nlls[0])
    fewest = min(n for n, nll in nlls[1].items() if nll <= nlls[0][most])
    models = [zoo.load(name) for name in names]
    text = f"`{backbone}_mcdo` has the NLL {nlls[0][most]:.4f} with {most} passes, "
    text += f"`{backbone}_smooth_mcdo` {nlls[1][fewest]:.4f} with {fewest}: "
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


def of(row: dict) -> bool:
    """Returns whether a result is the NLL on the clean test images."""
    return (row["dataset"], row["metric"]) == ("fashion_mnist", "nll")
