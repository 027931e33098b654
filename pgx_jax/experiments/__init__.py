"""Whole experiments: stages, artifacts, report."""
