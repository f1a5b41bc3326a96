"""Every recipe, command and example at the true number of images of its data set.

`make full-size` runs them with networks of a few filters on images of zeros and noise.
"""
