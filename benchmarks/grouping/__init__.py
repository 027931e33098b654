"""From an affinity to groups: seconds, gaps, and whether planted groups are found."""
