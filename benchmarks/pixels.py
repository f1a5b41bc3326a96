r"""Uncertainties of pixels side by side: softmax, MC dropout, an ensemble and DDU.

    python -m benchmarks.pixels --data_dir=path/to/CamVid --runs=runs/pixels --train
    python -m benchmarks.pixels --data_dir=path/to/CamVid --runs=runs/pixels

With `--train` the networks are trained first, or a training that was stopped goes on:
the plain one from three seeds, one with MC dropout in its deeper half, and one with the
spectral normalization of DDU. Each has its folder in `--runs`: `unet16`, `unet16_1`,
`unet16_2`, `unet16_mcdo50` and `unet16_ddu`, which may come from elsewhere. The
predictions and the report of the evaluation are in `evaluation` there; it goes on where
it was stopped, too.

The table has a line for each network and each of its uncertainties: how well it finds
wrong pixels and unlabeled ones (AUROC), and how well it ranks predictions (rAULC) on
clean and on corrupted frames. NLL, ECE and mean IoU are those of the predictions.
"""

import argparse
import pathlib

import numpy as np

SEEDS = (0, 1, 2)
# One of each group of corruptions.
CORRUPTIONS = (
    "gaussian_noise",
    "defocus_blur",
    "fog",
    "brightness",
    "jpeg_compression",
)
_SHARED = ("nll", "ece", "mean_iou")
_BY_SCORE = ("error_auroc", "void_auroc")


def networks(backbone: str) -> dict[str, tuple[str, int]]:
    """Returns names of models and seeds of trainings, by the folder of each."""
    plain = {f"{backbone}_{seed}" if seed else backbone: seed for seed in SEEDS}
    methods = (f"{backbone}_{method}" for method in ("mcdo50", "ddu"))
    return {
        **{folder: (backbone, seed) for folder, seed in plain.items()},
        **{name: (name, 0) for name in methods},
    }


def train(flags):
    """Trains the networks that are not trained yet."""
    from training.run import run_training

    for folder, (name, seed) in networks(flags.backbone).items():
        run_training(
            name,
            "camvid",
            str(flags.runs / folder),
            data_dir=flags.data_dir,
            dataset=flags.dataset,
            epochs=flags.epochs,
            limit=flags.limit,
            changes=flags.set,
            seed=seed,
        )


def evaluate(flags) -> list[dict]:
    """Evaluates the networks and their posteriors, and returns the rows."""
    from training.evaluation import command

    places = {f: str(flags.runs / f) for f in networks(flags.backbone)}
    backbone = flags.backbone
    seeds = [p for f, p in places.items() if networks(backbone)[f][0] == backbone]
    models = {
        backbone: places[backbone],
        f"{backbone}@temperature": places[backbone],
        "+".join([backbone] * len(seeds)): "+".join(seeds),
        f"{backbone}_mcdo50": places[f"{backbone}_mcdo50"],
        f"{backbone}@density": places[backbone],
        f"{backbone}_ddu": places[f"{backbone}_ddu"],
        f"{backbone}_ddu@density": places[f"{backbone}_ddu"],
    }
    settings = command.Settings(
        model=list(models),
        weights=list(models.values()),
        dataset=[flags.dataset, *corrupted(flags)],
        num_samples=(flags.passes,),
        batch_size=8,
        limit=flags.limit,
        data_dir=flags.data_dir,
        output=str(flags.runs / "evaluation"),
    )
    return command.run(settings).rows


def corrupted(flags) -> list[str]:
    """Returns the names of the corrupted test sets."""
    return [
        f"{flags.dataset}_c/{name}/{severity}"
        for name in flags.corruptions
        for severity in flags.severities
    ]


def table(rows: list[dict], folder: pathlib.Path) -> str:
    """Returns the table of an evaluation, in Markdown.

    Args:
        rows: Its rows.
        folder: Its folder.
    """
    from training import metrics
    from training.evaluation import ood, predictions
    from training.metrics import display

    values, sets = {}, list(dict.fromkeys(row["dataset"] for row in rows))
    for row in rows:
        values[row["model"], row["dataset"], row["metric"]] = row["value"]
    clean, *shifted = sets
    headings = [display.heading(name) for name in (*_SHARED, *_BY_SCORE)]
    headings += ["rAULC", f"rAULC, mean of {len(shifted)} corrupted sets"]
    lines = [["Network", "Uncertainty", *headings]]
    for model in dict.fromkeys(row["model"] for row in rows):
        stored = {
            name: predictions.load(
                predictions.folder_of(folder / "predictions", model, name)
            )
            for name in sets
        }
        size = max(row["num_samples"] for row in rows if row["model"] == model)
        for score in ood.uncertainties(stored[clean], size):
            names = [*_SHARED, *(f"{metric}/{score}" for metric in _BY_SCORE)]
            cells = [display.number(n, values[model, clean, n]) for n in names]
            raulc = [
                metrics.raulc(
                    of.probs[of.index(size)], of.labels, ood.score(of, size, score)
                )
                for of in stored.values()
            ]
            mean = f"{np.mean(raulc[1:]):.3f}" if shifted else "-"
            words = score.replace("_", " ")
            lines.append([f"`{model}`", words, *cells, f"{raulc[0]:.3f}", mean])
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main():
    """Prints the table, and writes it into the folder of the evaluation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_dir", help="of the files of CamVid")
    parser.add_argument("--dataset", default="camvid", help="or a folder of the layout")
    parser.add_argument("--runs", type=pathlib.Path, required=True)
    parser.add_argument("--backbone", default="unet16")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--set", action="append", default=[], help="of the recipe")
    parser.add_argument("--limit", type=int, help="of the images of each set")
    parser.add_argument("--passes", type=int, default=30)
    parser.add_argument("--corruptions", nargs="*", default=list(CORRUPTIONS))
    parser.add_argument("--severities", nargs="+", type=int, default=[1, 3, 5])
    flags = parser.parse_args()
    if flags.train:
        train(flags)
    folder = flags.runs / "evaluation"
    text = table(evaluate(flags), folder)
    (folder / "uncertainties.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
