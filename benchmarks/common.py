"""What several benchmarks measure: memory of the process, and the rate that it could reach."""

import resource
import statistics
import time
from pathlib import Path

import jax


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


def gemm_rate(size: int = 2048) -> float:
    """GFLOP/s of a float32 matrix product in this process."""
    left = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(lambda a: a @ a)
    product(left).block_until_ready()
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        product(left).block_until_ready()
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(seconds) / 1e9
