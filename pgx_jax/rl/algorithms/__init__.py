"""Reinforcement-learning algorithms behind one protocol."""

from pgx_jax.rl.algorithms.base import ALGORITHMS, Algorithm, AlgorithmSettings, TrainingMetrics
from pgx_jax.rl.algorithms.ppo import PPO, PPOConfig

__all__ = ["ALGORITHMS", "PPO", "Algorithm", "AlgorithmSettings", "PPOConfig", "TrainingMetrics"]
