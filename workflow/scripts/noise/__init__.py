"""Noise models and random numbers: how noise is added, and what follows from it."""
