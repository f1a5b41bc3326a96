"""Data, training, evaluation, export and publishing of the models of the zoo."""
