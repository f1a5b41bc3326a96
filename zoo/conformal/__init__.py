"""Decisions: from probabilities to the classes that are an answer, with a promise.

A decision is a Keras layer from probabilities of shape `(batch, num_classes)`, or
`(batch, height, width, num_classes)`, to a mask of the same shape: which classes are in
the answer. What it promises holds for images like those that it has adapted to, which
the model must not have been trained on, and for no others: neither for corrupted images
nor for those of another camera.
"""

from zoo.conformal.decision import Decision as Decision
from zoo.conformal.names import DECISIONS as DECISIONS
from zoo.conformal.names import named as named
from zoo.conformal.selective import Selective as Selective
from zoo.conformal.selective import risk_bound as risk_bound
from zoo.conformal.sets import APS as APS
from zoo.conformal.sets import LAC as LAC
from zoo.conformal.sets import RAPS as RAPS
from zoo.conformal.sets import SplitConformal as SplitConformal
