"""How networks are trained and applied, on CPUs and GPUs."""
