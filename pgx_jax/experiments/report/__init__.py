"""The page of a run: tables and figures of what it found."""
