r"""Samples the weights of a small network; the same command resumes.

Draws of the posterior, by Hamiltonian Monte Carlo with the likelihood of all training
images. `zoo-evaluate --model=NAME@hmc --weights=WORKDIR` predicts with them.

Examples:

    zoo-sample --model=mlp --recipe=mnist --limit=1000 --chains=2 \
        --workdir=runs/mlp_hmc
    zoo-sample --model=lenet5 --recipe=mnist --prior=empcov:scale=0.1 --kernel=nuts \
        --workdir=runs/lenet5_empcov
"""

import math

from absl import flags, logging

from training.cli import common, names

_MODEL = flags.DEFINE_string(
    "model", None, "Name of the model, which must not draw, e.g. mlp.", required=True
)
_RECIPE = flags.DEFINE_string(
    "recipe",
    None,
    "Recipe whose data, normalization and prior count, e.g. mnist.",
    required=True,
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder that the draws are written to, and that it resumes from, e.g. runs/mine.",
    required=True,
)
flags.register_validator("workdir", common.is_local, common.LOCAL)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder that holds the data set, e.g. data."
)
_DATASET = flags.DEFINE_string(
    "dataset",
    None,
    "Data set of the likelihood, e.g. path/to/folder; default: that of the recipe.",
)
_LIMIT = flags.DEFINE_integer(
    "limit", None, "Number of training images to use, e.g. 1000; default: all of them."
)
_PRIOR = flags.DEFINE_string(
    "prior",
    None,
    "Prior of the weights: gaussian, laplace, student_t, empcov or sum_filter, with "
    "settings, e.g. gaussian:scale=0.1; default: that of the recipe.",
)
_CHAINS = flags.DEFINE_integer(
    "chains", 1, "Number of chains, one after another, e.g. 4.", lower_bound=1
)
_NUM_RESULTS = flags.DEFINE_integer(
    "num_results", 100, "Draws of each chain that are kept, e.g. 50.", lower_bound=1
)
_BURNIN = flags.DEFINE_integer(
    "burnin",
    50,
    "Transitions of each chain before the first draw, in which the step size adapts, "
    "e.g. 20.",
    lower_bound=0,
)
_STEP_SIZE = flags.DEFINE_float(
    "step_size",
    0.01,
    "First step size, over the scale of the prior, e.g. 0.003.",
)
_TRAJECTORY = flags.DEFINE_float(
    "trajectory",
    math.pi / 2,
    "Length of the trajectories of hmc, over the scale of the prior, e.g. 1.0.",
)
_KERNEL = flags.DEFINE_enum(
    "kernel", "hmc", ["hmc", "nuts"], "Transition kernel: nuts chooses lengths itself."
)
_SET = flags.DEFINE_multi_string(
    "set", [], "Setting of the recipe to change, e.g. holdout=500; may be repeated."
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of all chains.", lower_bound=0)
_JIT = flags.DEFINE_enum(
    "jit_compile",
    "auto",
    ["auto", "true", "false"],
    "Whether to compile with XLA; auto does so where there are no convolutions.",
)
_SECONDS = flags.DEFINE_float(
    "checkpoint_seconds", 60, "Number of seconds between two checkpoints, e.g. 300."
)


def main():
    """Samples and says how good the draws are, and where they lie."""
    names.check([_MODEL.value], [_DATASET.value], _DATA_DIR.value, recipe=_RECIPE.value)
    logging.set_verbosity(logging.INFO)
    from training.mcmc import Sampling
    from training.mcmc.run import run_sampling

    found = run_sampling(
        _MODEL.value,
        _RECIPE.value,
        _WORKDIR.value,
        Sampling(
            kernel=_KERNEL.value,
            num_results=_NUM_RESULTS.value,
            burnin=_BURNIN.value,
            step_size=_STEP_SIZE.value,
            trajectory=_TRAJECTORY.value,
        ),
        prior=_PRIOR.value,
        chains=_CHAINS.value,
        data_dir=_DATA_DIR.value,
        dataset=_DATASET.value,
        limit=_LIMIT.value,
        changes=_SET.value,
        seed=_SEED.value,
        jit_compile={"true": True, "false": False}.get(_JIT.value, "auto"),
        checkpoint_seconds=_SECONDS.value,
    )
    for number, row in enumerate(found["chains"]):
        print(
            f"Chain {number}: acceptance {row['acceptance']:.2f}, step size "
            f"{row['step_size']:.3g}, {row['leapfrog_steps']:.0f} leapfrog steps a "
            f"draw, {row['diverged']} diverged"
        )
    for kind in ("predictions", "weights"):
        if of_kind := found.get(kind):
            print(
                f"Of {kind}, R-hat: median {of_kind['r_hat_median']:.3f}, largest "
                f"{of_kind['r_hat_max']:.3f}; effective sample size: median "
                f"{of_kind['ess_median']:.0f}, smallest {of_kind['ess_min']:.0f}"
            )
    print(
        f"Draws and diagnostics lie in {_WORKDIR.value}; predict with them by "
        f"zoo-evaluate --model={_MODEL.value}@hmc --weights={_WORKDIR.value}"
    )


def run():
    """Entry point of the `zoo-sample` command."""
    common.run(main)


if __name__ == "__main__":
    run()
