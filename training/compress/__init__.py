"""Smaller networks: fewer weights, fewer filters, fewer bits, fewer passes.

Each is a setting of a recipe, so that it is trained, saved, resumed, published and
evaluated as anything else; `training.compress.command` has them by the flags of
`zoo-compress`.
"""
