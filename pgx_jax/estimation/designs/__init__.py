"""Which task subsets to fit."""
