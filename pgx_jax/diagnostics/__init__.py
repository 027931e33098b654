"""What a result is worth: pure functions of arrays."""
