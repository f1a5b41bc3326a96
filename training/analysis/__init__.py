"""Analyses of trained networks: why they predict as they do.

Each analysis is a function of a functional Keras model and a data set to a
`training.analysis.base.Finding`, and a line of `ANALYSES`, by which `zoo-analyze` has
it. `training.analysis.base` says how they are called.
"""

from training.analysis.base import Analysis as Analysis
from training.analysis.base import Finding as Finding
from training.analysis.feature_maps import features as features
from training.analysis.feature_maps import plot_features as plot_features
from training.analysis.frequencies import fourier as fourier
from training.analysis.frequencies import plot_fourier as plot_fourier
from training.analysis.lesion_study import lesions as lesions
from training.analysis.lesion_study import plot_lesions as plot_lesions
from training.analysis.representations import plot_similarity as plot_similarity
from training.analysis.representations import similarity as similarity

# By their name on the command line, in the order of a report.
ANALYSES = {
    "features": Analysis(
        features,
        plot_features,
        "Feature maps",
        "Variance over the points of a map, and over the passes of a network that "
        "draws: the mean over channels and images, block by block.",
    ),
    "fourier": Analysis(
        fourier,
        plot_fourier,
        "Frequencies",
        "Log amplitudes of feature maps relative to their mean: a low pass lowers them "
        "at high frequencies, a high pass raises them. Noise of one annulus of "
        "frequencies has the same power in each.",
    ),
    "similarity": Analysis(
        similarity,
        plot_similarity,
        "Similarity",
        "Linear CKA between blocks on the same images: 1 is equal but for a rotation, "
        "a scale and a shift.",
        takes="pair",
    ),
    "lesions": Analysis(
        lesions,
        plot_lesions,
        "Lesions",
        "Accuracy when one block is passed by: of a residual block the shortcut is "
        "left, another gives what it takes.",
    ),
}
