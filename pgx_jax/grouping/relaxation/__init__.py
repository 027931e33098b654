"""The semidefinite relaxation of grouping, its solvers, and its bound."""
