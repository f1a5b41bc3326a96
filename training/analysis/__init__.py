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
from training.analysis.hessian_spectrum import hessian as hessian
from training.analysis.lesion_study import lesions as lesions
from training.analysis.lesion_study import plot_lesions as plot_lesions
from training.analysis.loss_landscape import landscape as landscape
from training.analysis.mode_connectivity import connectivity as connectivity
from training.analysis.phase_diagram import phases as phases
from training.analysis.representations import plot_similarity as plot_similarity
from training.analysis.representations import similarity as similarity
from training.analysis.weight_figures import plot_connectivity as plot_connectivity
from training.analysis.weight_figures import plot_hessian as plot_hessian
from training.analysis.weight_figures import plot_landscape as plot_landscape
from training.analysis.weight_figures import plot_phases as plot_phases

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
    "hessian": Analysis(
        hessian,
        plot_hessian,
        "Hessian",
        "Eigenvalues of the Hessian of NLL + L2 by the weights, of batches of "
        "augmented training images: the larger, the sharper the place that the "
        "training found.",
        split="train",
        keeps=True,
    ),
    "landscape": Analysis(
        landscape,
        plot_landscape,
        "Loss landscape",
        "NLL + L2 of training images around the weights, along random directions in "
        "which each filter has the length of that of the network.",
        split="train",
        keeps=True,
    ),
    "connectivity": Analysis(
        connectivity,
        plot_connectivity,
        "Connectivity",
        "NLL + L2 and error of training images on the straight line between two "
        "trainings, and on a curve that was trained to keep them low.",
        takes="pair",
        split="train",
        keeps=True,
    ),
    "phases": Analysis(
        phases,
        plot_phases,
        "Phases",
        "Trainings by load and temperature: flat or sharp by the largest eigenvalue, "
        "connected or not by the error between two seeds, alike or not by CKA.",
        takes="sweep",
        split="train",
        keeps=True,
    ),
}
