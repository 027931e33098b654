"""Environments behind one batched protocol, and families of tasks."""
