"""What samples say together, from the definitions."""

import numpy as np


def quantities(logits):
    """All quantities in float64, from the definitions."""
    logits = logits.astype("float64")
    samples = np.exp(logits - logits.max(axis=-1, keepdims=True))
    samples /= samples.sum(axis=-1, keepdims=True)
    mean = samples.mean(axis=0)
    num_samples, batch, num_classes = logits.shape
    expected = np.zeros(batch)
    entropy = np.zeros(batch)
    ratio = np.zeros(batch)
    for b in range(batch):
        entropy[b] = -sum(p * np.log(p) for p in mean[b] if p > 0)
        for s in range(num_samples):
            expected[b] -= sum(p * np.log(p) for p in samples[s, b] if p > 0)
        votes = np.bincount(logits[:, b].argmax(axis=-1), minlength=num_classes)
        ratio[b] = 1 - votes.max() / num_samples
    expected /= num_samples
    return {
        "probs": mean,
        "log_probs": np.log(mean),
        "entropy": entropy,
        "expected_entropy": expected,
        "mutual_information": entropy - expected,
        "variation_ratio": ratio,
    }


NAMES = tuple(quantities(np.zeros((1, 1, 2))))
