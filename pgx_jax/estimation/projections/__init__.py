"""Random projections of gradients, and the features they make."""
