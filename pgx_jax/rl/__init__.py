"""Rollouts, algorithms, the combination of gradients, training, evaluation."""
