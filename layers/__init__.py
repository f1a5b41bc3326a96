"""Keras layers for images that get worse: smoothing, dropout, Gaussian weights."""
