"""brax environments."""
