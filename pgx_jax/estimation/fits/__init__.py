"""Weighted logistic regressions of all task subsets."""
