"""From transitions to a task-affinity matrix, in JAX alone."""
