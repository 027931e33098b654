"""A run of seconds."""

from pathlib import Path
from typing import Any

from pgx_jax.experiments.run import run_experiment
from tests.experiments.tiny import tiny_config


def tiny_run(folder: Path, environment: str = "cartpole", **settings: Any) -> dict[str, Any]:
    """Its report; one compared method unless ``settings`` say otherwise."""
    methods = settings.pop("methods", ("policygradex",))
    return run_experiment(tiny_config(environment, methods=methods, **settings), folder)
