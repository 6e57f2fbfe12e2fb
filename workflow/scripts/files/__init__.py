"""Arrays, tables and tensors in files that are either complete or not there."""
