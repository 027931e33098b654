"""Meta-World's MT10 and MT50."""
