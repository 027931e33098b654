"""From scores of subsets to the affinity of pairs."""
