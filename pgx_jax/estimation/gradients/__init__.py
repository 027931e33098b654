"""Per-transition policy gradients: factors of linear layers, inner products."""
