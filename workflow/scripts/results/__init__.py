"""Scores, and the pages that show them."""
