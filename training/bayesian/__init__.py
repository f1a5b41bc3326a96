"""What trainings of Bayesian networks have: priors, KL weights, feature precisions."""
