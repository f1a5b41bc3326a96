"""From trained weights to published ones, with a model card."""
