"""Evaluation, in the order of its steps.

`command` takes the names of models and data sets, `models` and `external_models` load
the models, `sampling` draws predictions, `predictions` keeps them on disk, `evaluate`
and `ood` make rows of metrics, which `training.report` shows. `sweep` does all of it
for many models and data sets, `evaluate.evaluate` for one of each in memory.
"""
