"""What smoothing and fast prediction save together, on the packaged weights."""

from benchmarks import rounds


def headline(count: int) -> str:
    """Returns the sentence about the packaged weights, of so many rounds."""
    import tensorflow as tf

    import zoo
    from zoo import presets

    names = "resnet20_mcdo.fashion_mnist", "resnet20_smooth_mcdo.fashion_mnist"
    nlls = [
        {r["num_samples"]: r["value"] for r in presets.read()[name].results if of(r)}
        for name in names
    ]
    fewest = min(n for n, nll in nlls[1].items() if nll <= nlls[0][50])
    models = [zoo.load(name) for name in names]
    text = f"NLL {nlls[0][50]:.4f} of 50 passes, {nlls[1][fewest]:.4f} of {fewest}: "
    for batch in (1, 8, 64):
        images = tf.random.uniform((batch, *models[0].input_shape[1:])) * 255
        compiled = tf.function(models[0], autograph=False)
        posterior = zoo.posterior.MonteCarlo(models[1], fewest)

        def loop(images=images, compiled=compiled):
            return tf.stack([compiled(images) for _ in range(50)]).numpy()

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
