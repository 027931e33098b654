"""Environments outside JAX: the callback, its guards, and what runs behind it."""
