"""Rollout, advantage estimation, PPO, evaluation."""
