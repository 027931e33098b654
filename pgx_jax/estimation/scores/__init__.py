"""How well an adapted policy serves each task."""
