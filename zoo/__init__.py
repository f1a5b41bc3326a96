"""Image classifiers by name: architectures, methods, weights and posteriors."""

__version__ = "0.1.0"
