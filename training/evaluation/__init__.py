"""Evaluation, in the order of its steps.

`command` takes the names of models and data sets, `models` and `external_models` load
the models, `sampling` draws predictions, `predictions` keeps them on disk, `evaluate`
and `ood` make rows of metrics, which `training.report` shows. `sweep` does all of it
for many models and data sets, `evaluate.evaluate` for one of each in memory.
"""

# Of an evaluation with the same seed, images and ensemble size as that of a model card:
# what the rounding of another machine may change. Rates of 10,000 images are multiples
# of 0.0001.
TOLERANCE = 2e-3
