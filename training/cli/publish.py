r"""Publishes the weights of a training, or puts published ones into the package.

Examples:

    zoo-publish --model=resnet20_smooth_mcdo --weights=runs/resnet20_smooth_mcdo \
        --results=evaluation/rows.jsonl --output=published/resnet20_smooth_mcdo
    zoo-publish --model=resnet20 --weights=runs/resnet20 --output=hf://owner/resnet20
    zoo-publish --model=resnet20@temperature --weights=runs/resnet20 --output=scaled
    zoo-publish --model=resnet20@mixture --weights=runs/a+runs/b --output=mixture
    zoo-publish --package=published/resnet20,published/resnet20_smooth_mcdo
"""

from absl import app, flags

from training.cli import common, names

flags.DEFINE_string(
    "model",
    None,
    "Name of the model, e.g. resnet20@laplace:subset=all, of which the posterior is "
    "published too; without a tag it gets one from the data set and seed.",
)
flags.DEFINE_integer(
    "num_samples",
    10,
    "Number of forward passes of a posterior, of a stochastic model.",
    lower_bound=1,
)
flags.DEFINE_string(
    "weights",
    None,
    "Folder of zoo-train, or its weights file, e.g. runs/mine; of a posterior of "
    "several networks runs/a+runs/b.",
)
flags.DEFINE_list(
    "results",
    [],
    "Files of zoo-evaluate for the model card, also of other seeds, e.g. "
    "runs/mine/rows.jsonl.",
)
flags.DEFINE_string(
    "output",
    None,
    "Where to publish: a folder, e.g. published/mine, hf://owner/name or "
    "gs://bucket/folder.",
)
flags.DEFINE_enum(
    "dtype", "float16", ["float16", "float32"], "Type to store the weights in."
)
flags.DEFINE_string(
    "dataset",
    None,
    "Data set on whose test images float16 weights are checked, e.g. path/to/folder.",
)
flags.DEFINE_string("data_dir", None, "Folder that holds the data set, e.g. data.")
flags.DEFINE_string("license", "apache-2.0", "License of the weights, e.g. mit.")
flags.DEFINE_string(
    "data_license", None, "License of the training data, e.g. cc-by-4.0."
)
flags.DEFINE_bool("saved_model", True, "Whether to write a SavedModel.")
flags.DEFINE_list(
    "package",
    [],
    "Published folders to add to the package, in place of --model and the others, e.g. "
    "published/a,published/b.",
)

NEEDED = "model", "weights", "output"


def main():
    """Writes one folder, or packages several."""
    values = flags.FLAGS.flag_values_dict()
    needed = [values[name] for name in NEEDED]
    if bool(values["package"]) == any(needed) or (any(needed) and not all(needed)):
        raise app.UsageError("Give --model, --weights and --output, or --package.")
    models = filter(None, [values["model"]])
    names.check(models, [values["dataset"]], values["data_dir"])
    from training.publishing import publish_training
    from zoo import finding
    from zoo.publishing import packaging

    for folder in values["package"]:
        preset = packaging.package(folder)
        place = preset.url
        if preset.file:
            place = f"{finding.locate(preset).parent.name}/"
        print(f"{preset.name}: {preset.size / 1e6:.2f} MB in {place}")
    if any(needed):
        preset = publish_training.publish_training(
            values["model"],
            values["weights"],
            values["output"],
            results=values["results"],
            dtype=values["dtype"],
            dataset=values["dataset"],
            data_dir=values["data_dir"],
            saved_model=values["saved_model"],
            num_samples=values["num_samples"],
            license=values["license"],
            data_license=values["data_license"],
        )
        if preset.rounding:
            print(
                "Rounding:", ", ".join(f"{k} {v}" for k, v in preset.rounding.items())
            )
        for key, entry in preset.posteriors.items():
            found = [f"{k} {v:.4g}" for k, v in entry["values"].items()]
            print(
                f"{preset.name}@{key}:", ", ".join([*found, f"of {entry['dataset']}"])
            )
        output = values["output"]
        print(f"{preset.name}: weights, preset, card and checksums in {output}")


def run():
    """Entry point of the `zoo-publish` command."""
    common.run(main)


if __name__ == "__main__":
    run()
