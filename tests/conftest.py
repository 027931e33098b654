"""Settings for all tests, made before JAX is imported."""

import os

# Two pools of threads on two cores wait for each other; JAX's own is enough.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
