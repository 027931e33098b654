"""Where figures come from: command, versions and hardware, for every file of results."""

import json
import os
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from pgx_jax.experiments.store import write_atomically

_VERSIONED = (
    *("pgx_jax", "jax", "jaxlib", "numpy", "flax", "optax", "cvxpy", "clarabel"),
    *("gymnax", "gymnasium", "envpool", "highway-env", "metaworld", "mujoco", "brax"),
)


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in _VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def provenance() -> dict[str, Any]:
    """Command, versions and hardware."""
    # Of paths outside the project only the last part: the rest is this machine's own.
    program, *arguments = (Path(part).name if part[:1] == "/" else part for part in sys.argv)
    command = [program] if program == "pgx-jax" else ["python", program]
    return {
        "command": shlex.join([*command, *arguments]),
        "versions": package_versions(),
        "hardware": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "jax_device": str(jax.devices()[0]),
        },
    }


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Write a file of results with their provenance.

    Raises:
        ArtifactError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**provenance(), **results}, indent=1) + "\n"
    write_atomically(path, text.encode())


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
