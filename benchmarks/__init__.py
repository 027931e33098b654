"""What the package costs and how exact it is; README.md says how to run each script."""
