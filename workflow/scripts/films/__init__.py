"""A person's own noisy films: read by rows, denoised in tiles, and written as they came."""
