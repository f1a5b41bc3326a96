"""Trainings with several values of settings, in one folder."""
