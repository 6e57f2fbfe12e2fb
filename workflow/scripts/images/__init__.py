"""Films: where they come from, read as grey levels, resized, and recognised."""
