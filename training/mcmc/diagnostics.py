"""Whether chains agree, and how many independent draws they are worth."""

import numpy as np


def diagnose(draws: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the diagnostics of tensorflow-probability for each quantity.

    Args:
        draws: float array of shape `(chains, draws, quantities)`, of four draws at
            least.

    Returns:
        Arrays of shape `(quantities,)`. `"r_hat"` is the potential scale reduction of
        the halves of all chains: 1 where they agree, larger where they have not mixed.
        `"ess"` is the effective sample size, of all chains together; draws that are
        anticorrelated are worth more than as many independent ones, at most `log10` of
        their number times as many. Of what never changes, both are NaN.

    Reference:
        [Rank-Normalization, Folding, and Localization](
        https://arxiv.org/abs/1903.08008) (Vehtari et al., 2021), for the halves.
    """
    import tensorflow as tf
    import tensorflow_probability as tfp

    states = tf.constant(np.swapaxes(np.asarray(draws, "float64"), 0, 1))
    r_hat = tfp.mcmc.potential_scale_reduction(
        states, independent_chain_ndims=1, split_chains=True
    )
    several = {"cross_chain_dims": 1} if len(draws) > 1 else {}
    ess = tfp.mcmc.effective_sample_size(
        states if several else states[:, 0],
        filter_beyond_positive_pairs=True,
        **several,
    )
    total = draws.shape[0] * draws.shape[1]
    most = total * max(np.log10(total), 1)
    # Of few draws the estimate of what they are worth may be negative, or endless.
    ess = np.where((ess > 0) & (ess < most), ess, most)
    varies = np.ptp(draws, axis=(0, 1)) > 0
    return {
        # Theirs is the ratio of the variances; the field has its root.
        "r_hat": np.where(varies, np.sqrt(r_hat.numpy()), np.nan),
        "ess": np.where(varies, ess, np.nan),
    }


def summary(draws: np.ndarray) -> dict[str, float]:
    """Returns the median and the worst of `diagnose`, over what changes at all.

    Args:
        draws: As `diagnose` takes it.
    """
    found = diagnose(draws)
    if np.isnan(found["r_hat"]).all():
        return {}
    return {
        "r_hat_median": float(np.nanmedian(found["r_hat"])),
        "r_hat_max": float(np.nanmax(found["r_hat"])),
        "ess_median": float(np.nanmedian(found["ess"])),
        "ess_min": float(np.nanmin(found["ess"])),
    }
