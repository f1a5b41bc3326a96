"""Noise that is drawn for every pixel and channel."""

import functools

import numpy as np

from training.corruptions.common import constants, normal, to_bytes

_GAUSSIAN = {
    32: (0.04, 0.06, 0.08, 0.09, 0.10),
    224: (0.08, 0.12, 0.18, 0.26, 0.38),
}
_SHOT = {32: (500, 250, 100, 75, 50), 224: (60, 25, 12, 5, 3)}
_IMPULSE = {32: (0.01, 0.02, 0.03, 0.05, 0.07), 224: (0.03, 0.06, 0.09, 0.17, 0.27)}
_SPECKLE = {32: (0.06, 0.1, 0.12, 0.16, 0.2), 224: (0.15, 0.2, 0.35, 0.45, 0.6)}


def gaussian_noise(image, severity, rng):
    """Adds normal noise of one standard deviation."""
    noise = normal(image.shape, rng)
    noise *= 255 * constants(_GAUSSIAN, image, severity)
    noise += image
    return to_bytes(noise)


def speckle_noise(image, severity, rng):
    """Adds normal noise in proportion to the pixel."""
    noise = normal(image.shape, rng)
    noise *= constants(_SPECKLE, image, severity)
    noise += 1
    noise *= image
    return to_bytes(noise)


def impulse_noise(image, severity, rng):
    """Turns a share of the values black or white, with equal probability."""
    amount = constants(_IMPULSE, image, severity)
    lot = rng.random(image.shape, np.float32)
    noisy = np.where(lot < amount, np.uint8(0), image)
    noisy[lot < amount / 2] = 255
    return noisy


def shot_noise(image, severity, rng):
    """Replaces a pixel `x` in [0, 1] by `Poisson(x * c) / c`.

    The counts of all 256 values are drawn from tables by the alias method (Walker,
    1977): a uniform cell, then the cell's own count or its alias. That is exact up to
    the 2**-22 of the uniform numbers, at a constant cost per pixel.
    """
    count = constants(_SHOT, image, severity)
    thresholds, outcomes = _alias_tables(count)
    cells = thresholds.shape[1]
    bits = rng.integers(0, 2**32, image.shape, np.uint32)
    place = (bits & np.uint32(cells - 1)).astype(np.int64)
    place += np.multiply(image, cells, dtype=np.int64)
    aliased = (bits >> np.uint32(10)) >= thresholds.reshape(-1)[place]
    return outcomes.reshape(-1)[2 * place + aliased]


@functools.lru_cache(maxsize=8)
def _alias_tables(count):
    """Returns thresholds `(256, cells)` in 2**-22 and outcomes `(256, cells, 2)`.

    The outcomes are the bytes of the counts; all counts from `count` on are white,
    so they are one outcome.
    """
    from scipy import stats

    cells = 1 << count.bit_length()
    rates = np.arange(256)[:, None] / 255 * count
    mass = np.zeros((256, cells))
    mass[:, :count] = stats.poisson.pmf(np.arange(count), rates)
    mass[:, count] = stats.poisson.sf(count - 1, rates[:, 0])
    mass *= cells
    alias = np.tile(np.arange(cells), (256, 1))
    share = np.ones((256, cells))
    rows = np.arange(256)
    open_cells = np.ones((256, cells), bool)
    for _ in range(cells - 1):
        # The emptiest open cell is filled up by the fullest one and closed.
        low = np.where(open_cells, mass, np.inf).argmin(axis=1)
        high = np.where(open_cells, mass, -np.inf).argmax(axis=1)
        share[rows, low], alias[rows, low] = mass[rows, low], high
        mass[rows, high] -= 1 - mass[rows, low]
        open_cells[rows, low] = False
    values = np.clip(np.arange(cells) / float(count), 0, 1) * 255
    own = np.broadcast_to(np.arange(cells), alias.shape)
    outcomes = values.astype(np.uint8)[np.stack([own, alias], axis=-1)]
    return np.rint(share * 2**22).astype(np.uint32), outcomes
