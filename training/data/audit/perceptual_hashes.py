"""Images that look alike: perceptual hashes, and which of them are near each other."""

from collections.abc import Iterator

import numpy as np

BITS = 64


def perceptual_hash(image: np.ndarray) -> int:
    """Returns 64 bits that images which look alike have in common, but for a few.

    Which of the low frequencies of the gray image are above their median: `phash` of
    the package ImageHash.

    Args:
        image: uint8 array of shape `(height, width, channels)` of 1 or 3 channels.

    Raises:
        ImportError: If the package is not installed.
    """
    try:
        import imagehash
    except ImportError as error:
        raise ImportError(
            "Images that look alike are found by the package ImageHash: pip install "
            "'smoothzoo[data]', or look for exact copies alone with --distance=-1."
        ) from error
    from PIL import Image

    gray = image[..., 0] if image.shape[-1] == 1 else image
    bits = imagehash.phash(Image.fromarray(np.ascontiguousarray(gray))).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_pairs(values: np.ndarray, distance: int) -> Iterator[tuple[int, int, int]]:
    """Yields the pairs of hashes that differ in few bits.

    Hashes that differ in `distance` bits agree in one of `distance + 1` parts of their
    bits, so only those that do are compared.

    Args:
        values: uint64 array of shape `(hashes,)`, all different.
        distance: The most bits, from 0.

    Yields:
        The places of two hashes, the smaller one first, and in how many bits they
        differ.
    """
    seen = set()
    edges = np.linspace(0, BITS, distance + 2).astype(int)
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        mask = np.uint64((1 << int(stop - start)) - 1)
        keys = (values >> np.uint64(start)) & mask
        order = np.argsort(keys, kind="stable")
        _, counts = np.unique(keys, return_counts=True)
        for group in np.split(order, np.cumsum(counts)[:-1]):
            for n, i in enumerate(group[:-1]):
                others = group[n + 1 :]
                bits = np.bitwise_count(values[others] ^ values[i])
                for k in np.flatnonzero(bits <= distance):
                    pair = tuple(sorted((int(i), int(others[k]))))
                    if pair not in seen:
                        seen.add(pair)
                        yield *pair, int(bits[k])
