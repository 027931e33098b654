"""What every benchmark records beside its figures."""

import json
import os
import platform
import resource
import shlex
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy import stats

from pgx_jax.experiments.run import package_versions


def provenance() -> dict[str, Any]:
    """Command, versions and hardware."""
    return {
        # Of paths outside the project only the last part: the rest is this machine's own.
        "command": shlex.join(
            ["python", *(Path(part).name if part.startswith("/") else part for part in sys.argv)]
        ),
        "versions": package_versions(),
        "hardware": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "jax_device": str(jax.devices()[0]),
        },
    }


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Write a results file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**provenance(), **results}, indent=1) + "\n")
    print(f"wrote {path}")


def mean_interval(values: list[float], confidence: float = 0.95) -> dict[str, float | None]:
    """Mean with a Student-t confidence interval over seeds."""
    data = np.asarray(values, float)
    mean = float(data.mean())
    if len(data) < 2:
        return {"mean": mean, "low": None, "high": None}
    half = float(stats.t.ppf((1 + confidence) / 2, len(data) - 1) * stats.sem(data))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def reset_peak() -> float:
    """Let ``peak_mib`` count from now on, where the system can; what is held now, in MiB."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")
    return peak_mib()


def peak_mib() -> float:
    """Most memory that the process has held, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
