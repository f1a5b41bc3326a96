r"""Many methods at equal epochs, side by side: trained, evaluated, one table.

    python -m benchmarks.methods bayesian --data_dir=data --train
    python -m benchmarks.methods bayesian --data_dir=data --write=docs/results.md

The first command trains every entry of a table that is not trained yet, in a process of
its own, or goes on with one that was stopped: `--only` names some of them, so that two
such commands share two cores. The second one evaluates those that are trained and
prints the table: on all test images, on 19 corruptions at five severities, against data
sets near and far, and under attack. It goes on where it was stopped, too. `--data` is a
file of what was measured before, which the table has, too, and which gets what is new:
so trainings may come one after the other, from several machines.

What a training takes is the processor time and the peak of the memory of its process,
of one that was stopped those of the last process. Ratios are to the first entry, which
is trained again where others are evaluated.
The time of a prediction is that of the passes of its row, of a batch of 64 on the CPU,
over the plain network's: the median over rounds of the ratio within a round.
"""

import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys

import numpy as np

from benchmarks import rounds
from benchmarks.method_tables import TABLES, Entry, Table

PASSES = 4  # Of what draws, and members of what has members.
USAGE = "usage.json"
OTHERS = "cifar100", "noise"  # Near and far.
BATCH = 64
SECONDS = 0.2  # Of a measurement of predictions, about.
# Of the corrupted sets together.
MEAN, MCE = "corrupted", "cifar10_c"
QUALITY, AUROC = ("nll", "accuracy", "ece"), "auroc/entropy"


def folder(flags, label: str) -> pathlib.Path:
    """Returns the folder of a training."""
    return flags.runs / label


def is_finished(flags, entry: Entry) -> bool:
    """Returns whether all trainings of an entry are finished."""
    return all((folder(flags, x) / USAGE).exists() for x in entry.trainings)


def training(flags, table: Table, entry: Entry) -> list[str]:
    """Returns the command that trains an entry."""
    command = [sys.executable, "-m", "training.cli.train"]
    command += [f"--model={entry.model}", *table.flags, *entry.flags]
    command += [f"--epochs={flags.epochs or table.epochs}"]
    command += [f"--workdir={folder(flags, entry.label)}"]
    command += [f"--data_dir={flags.data_dir}"] if flags.data_dir else []
    command += ["--mixed_precision"]
    # The recipe of an entry counts, not that of all.
    return [part.format(runs=flags.runs) for part in _last(command)]


def train(flags, table: Table):
    """Trains what is not trained yet, and notes what each training took."""
    from zoo.storage import files

    for entry in table.entries:
        if entry.members or is_finished(flags, entry):
            continue
        if flags.only and entry.label not in flags.only:
            continue
        command = training(flags, table, entry)
        print(shlex.join(command[2:]), flush=True)
        _, status, usage = os.wait4(subprocess.Popen(command).pid, 0)
        if status:
            raise SystemExit(f"The training of {entry.label} ended with {status}.")
        took = {
            "seconds": usage.ru_utime + usage.ru_stime,
            "gigabytes": usage.ru_maxrss * 1024 / 1e9,
        }
        with files.replacing(folder(flags, entry.label) / USAGE) as path:
            path.write_text(json.dumps(took), encoding="utf-8")


def _last(command):
    """Returns a command without flags, other than settings, that are given again."""
    names = [x.partition("=")[0] for x in command]
    return [
        x
        for i, (x, name) in enumerate(zip(command, names, strict=True))
        if name == "--set" or not name.startswith("--") or name not in names[i + 1 :]
    ]


def evaluate(flags, table: Table, entries: list[Entry]) -> dict[tuple, float]:
    """Evaluates networks.

    Returns:
        Values by the label, the data set and the metric.
    """
    from training.evaluation import command

    names = [
        "+".join(f"{entry.model}.{x}" for x in entry.trainings) for entry in entries
    ]
    places = [
        "+".join(str(folder(flags, x)) for x in entry.trainings) for entry in entries
    ]

    def rows(kind, limit, **more):
        settings = command.Settings(
            model=names,
            weights=places,
            num_samples=(PASSES,),
            precision="bfloat16",
            limit=limit,
            selection="first" if limit else None,
            data_dir=flags.data_dir,
            output=str(flags.runs / "evaluation" / kind),
            **more,
        )
        return command.run(settings).rows

    grid = {"dataset": ["cifar10_c/*/*"], "reference": names[0]}
    found = rows("corrupted", flags.corrupted_limit, **grid)
    if flags.attacked:
        found += rows("attacked", flags.attacked, dataset=["cifar10"], **table.attack)
    found += rows("clean", flags.limit, dataset=["cifar10"], ood=OTHERS)
    # A row has the shorter name of several networks.
    shown = list(dict.fromkeys(row["model"] for row in found))
    labels = dict(zip(shown, (entry.label for entry in entries), strict=True))
    values = {
        (labels[row["model"]], row["dataset"], row["metric"]): row["value"]
        for row in found
    }
    return values | corrupted_means(values)


def corrupted_means(values: dict[tuple, float], whole: str = MCE) -> dict[tuple, float]:
    """Returns the means over the corrupted sets, by label, `MEAN` and metric.

    Args:
        values: Values by the label, the data set and the metric.
        whole: What the names of the corrupted sets begin with, before a slash.
    """
    found = {}
    for (label, dataset, metric), value in values.items():
        if metric in QUALITY and dataset.startswith(f"{whole}/"):
            found.setdefault((label, MEAN, metric), []).append(value)
    return {key: float(np.mean(all_of)) for key, all_of in found.items()}


def models(flags, entries: list[Entry]) -> dict[str, object]:
    """Returns functions from images to logits, with `PASSES` of what draws."""
    import zoo
    from zoo.posterior.monte_carlo import as_posterior

    found = {}
    for entry in entries:
        members = [
            zoo.load(entry.model, weights=str(folder(flags, x)))
            for x in entry.trainings
        ]
        model = members[0]
        if entry.members:
            model = zoo.posterior.DeepEnsemble(members)
        found[entry.label] = as_posterior(model, PASSES)
    return found


def time_predictions(posteriors: dict, images, count: int) -> dict[str, float]:
    """Returns the time of a prediction over that of the first, by label."""
    steps = {
        label: rounds.local(lambda it=posterior: np.asarray(it(images, seed=0)))
        for label, posterior in posteriors.items()
    }
    times = rounds.measure(steps, count, SECONDS)
    first = next(iter(steps))
    return {label: rounds.ratio(times, first, label)[0] for label in steps}


def measured(flags, entry: Entry, values: dict, posterior, ratio: float) -> dict:
    """Returns what is known of an entry, for a file.

    Args:
        flags: Those of the command.
        entry: The entry.
        values: As of `evaluate`.
        posterior: As of `models`.
        ratio: The time of a prediction over that of the first entry.
    """
    from zoo.publishing import training_record

    took = [json.loads((folder(flags, x) / USAGE).read_text()) for x in entry.trainings]
    records = [training_record.read(folder(flags, x)) for x in entry.trainings]
    return {
        "commands": [record["command"] for record in records],
        "commit": records[0]["commit"],
        "weights": posterior.count_params(),
        "minutes": sum(x["seconds"] for x in took) / 60,
        "gigabytes": max(x["gigabytes"] for x in took),
        "prediction": ratio,
        "values": [
            [dataset, metric, value]
            for (label, dataset, metric), value in values.items()
            if label == entry.label and is_shown(dataset, metric)
        ],
    }


def is_shown(dataset: str, metric: str) -> bool:
    """Returns whether a value is one of the table; each corrupted set's is not."""
    is_kept = metric in QUALITY or metric.startswith("mce/") or metric == AUROC
    return is_kept and not dataset.startswith(f"{MCE}/")


def line(table: Table, entry: Entry, known: dict) -> list[str]:
    """Returns the cells of an entry.

    Args:
        table: The table.
        entry: The entry.
        known: As of `measured`.
    """
    from training.metrics import display

    values = {(dataset, metric): value for dataset, metric, value in known["values"]}

    def number(dataset, metric):
        value = values.get((dataset, metric))
        return "" if value is None else display.number(metric, value)

    cells = [
        f"`{entry.label}`",
        f"{known['weights']:,}",
        f"{known['minutes']:.0f}",
        f"{known['gigabytes']:.1f}",
        f"{known['prediction']:.2f}",
    ]
    cells += [number("cifar10", metric) for metric in QUALITY]
    cells += [number(MEAN, metric) for metric in QUALITY]
    relative = [name for dataset, name in values if name.startswith("mce/")]
    cells += [number(MCE, relative[0]) if relative else ""]
    cells += [number(f"cifar10 vs {x}", AUROC) for x in OTHERS]
    return [*cells, *(number(x, "accuracy") for x in attacked(table))]


def attacked(table: Table) -> list[str]:
    """Returns the names of the attacked sets."""
    from training.attacks import attacked

    name, radii = table.attack["attack"], table.attack["epsilon"]
    return [f"cifar10{attack.dataset}" for attack in attacked.named(name, radii)]


def heading(table: Table) -> list[str]:
    """Returns the words over the columns."""
    quality = "NLL", "accuracy (%)", "ECE (%)"
    kind = table.attack["attack"].upper()
    return [
        *("method", "weights", "training (min)", "memory (GB)", "prediction"),
        *quality,
        *(f"{x}, corrupted" for x in quality),
        "mCE",
        *(f"AUROC, {x} (%)" for x in OTHERS),
        *(f"accuracy, {kind} {x} (%)" for x in table.attack["epsilon"]),
    ]


def main():
    """Trains, or evaluates and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=sorted(TABLES))
    parser.add_argument("--data_dir", help="Folder of CIFAR-10 and CIFAR-100.")
    parser.add_argument("--runs", type=pathlib.Path, help="Default: runs/TABLE.")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--only", nargs="+", default=[], help="Entries to train.")
    parser.add_argument("--epochs", type=int, help="Of each training.")
    parser.add_argument("--limit", type=int, help="Test images; default: all of them.")
    parser.add_argument("--corrupted_limit", type=int, default=250)
    parser.add_argument("--attacked", type=int, default=500, help="Attacked images.")
    parser.add_argument("--data", type=pathlib.Path, help="What was measured before.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", type=pathlib.Path, help="A file with the marks.")
    flags = parser.parse_args()
    flags.runs = flags.runs or pathlib.Path("runs", flags.table)
    table = TABLES[flags.table]()
    unknown = {*flags.only} - {entry.label for entry in table.entries}
    if unknown:
        parser.error(f"There are no entries {', '.join(sorted(unknown))}.")
    if flags.train:
        train(flags, table)
        return

    from benchmarks.results import benchmark_page, documents
    from training import data
    from zoo.storage import files

    entries = [entry for entry in table.entries if is_finished(flags, entry)]
    known = {}
    if flags.data and flags.data.exists():
        known = json.loads(flags.data.read_text())
    found = known.setdefault(flags.table, {})
    if entries and entries[0] != table.entries[0]:
        raise SystemExit(
            f"The mCE and the times are relative to '{table.entries[0].label}', which "
            f"is not trained in {flags.runs}; --train does that."
        )
    if entries:
        values = evaluate(flags, table, entries)
        posteriors = models(flags, entries)
        images = data.load("cifar10", "test", flags.data_dir).images[:BATCH]
        times = time_predictions(posteriors, images, flags.rounds)
        for entry in entries:
            more = values, posteriors[entry.label], times[entry.label]
            found[entry.label] = measured(flags, entry, *more)
    if flags.data:
        with files.replacing(flags.data) as path:
            path.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    body = [line(table, x, found[x.label]) for x in table.entries if x.label in found]
    if not body:
        raise SystemExit(f"Nothing is trained in {flags.runs}; --train does that.")
    text = benchmark_page.markdown(heading(table), body, words=1)
    print(text)
    if flags.write:
        name = f"{flags.table} methods"
        marks = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        documents.replace(flags.write, f"\n{text}\n", marks)


if __name__ == "__main__":
    main()
