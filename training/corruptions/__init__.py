"""The common corruptions of Hendrycks and Dietterich, 15 + 4, at five severities.

`docs/corruptions.md` says where these differ from the published programs, and why.

Reference:
    [Benchmarking Neural Network Robustness to Common Corruptions and Perturbations](
    https://arxiv.org/abs/1903.12261) (Hendrycks and Dietterich, 2019).
"""

from training.corruptions.batch import corrupt_all as corrupt_all
from training.corruptions.frost import frost_source as frost_source
from training.corruptions.single import corrupt as corrupt
from training.corruptions.table import BENCHMARK as BENCHMARK
from training.corruptions.table import CORRUPTIONS as CORRUPTIONS
from training.corruptions.table import DETERMINISTIC as DETERMINISTIC
from training.corruptions.table import SEVERITIES as SEVERITIES
from training.corruptions.table import check as check
