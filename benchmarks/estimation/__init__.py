"""From transitions to an affinity: seconds, memory, and what is lost."""
