"""Stepping environments: seconds, and whether two backends agree."""
