"""From a solution of the relaxation, or none, to a partition."""
