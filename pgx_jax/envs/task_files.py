"""Python files in which a user says what varies between tasks."""

import inspect
import sys
import types
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pgx_jax.envs.ranges import Range, as_range


class TaskFile(NamedTuple):
    """What a user's Python file says of the tasks; one of ``ranges`` and ``tasks`` is given.

    Attributes:
        path: absolute path of the file.
        ranges: by parameter.
        tasks: ``(seed, num_tasks)`` -> one dict of parameters a task; called with an even seed
            for the source tasks and an odd one for the held-out tasks.
        max_episode_steps: episode limit (Gymnasium).
        info_names: values of ``info`` to carry (Gymnasium).
        metric: "return", or the one of ``info_names`` that a policy is judged by.
    """

    path: str
    ranges: dict[str, Range] | None
    tasks: Callable[[int, int], list[dict[str, Any]]] | None
    max_episode_steps: int | None = None
    info_names: tuple[str, ...] = ()
    metric: str = "return"


def load_task_file(path: str | Path) -> TaskFile:
    """Run a Python file and read what it says of the tasks.

    The file defines ``ranges``, a dict by parameter of what ``as_range`` takes, or a function
    ``tasks(seed, num_tasks) -> list[dict]``. For Gymnasium it may also register its environment,
    and define ``max_episode_steps``, ``info_names`` and ``metric``. A file that has not changed
    runs once a process.

    Raises:
        ValueError: there is no such file, it fails, or it says nothing that is understood.
    """
    module = run_task_file(path)
    ranges = getattr(module, "ranges", None)
    tasks: Any = getattr(module, "tasks", None)
    if (ranges is None) == (tasks is None):
        both = "both" if ranges is not None else "neither"
        raise ValueError(
            f'task file "{path}" has to define `ranges = {{...}}` or '
            f"`def tasks(seed, num_tasks)`; it defines {both}"
        )
    if not (tasks is None or inspect.isroutine(tasks)):
        raise ValueError(f'task file "{path}": `tasks` is not a function')
    if ranges is not None and not isinstance(ranges, Mapping):
        raise ValueError(f'task file "{path}": `ranges` is not a dict')
    limit, metric = getattr(module, "max_episode_steps", None), getattr(module, "metric", "return")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ValueError(f'task file "{path}": max_episode_steps is {limit!r}, not a count')
    info_names = getattr(module, "info_names", ())
    info_names = (info_names,) if isinstance(info_names, str) else tuple(info_names)
    if metric not in ("return", *info_names):
        raise ValueError(f'task file "{path}": metric "{metric}" is not one of info_names')
    return TaskFile(
        path=str(Path(path).resolve()),
        ranges=None
        if ranges is None
        else {str(name): as_range(str(name), value) for name, value in ranges.items()},
        tasks=tasks,
        max_episode_steps=limit,
        info_names=info_names,
        metric=metric,
    )


def run_task_file(path: str | Path) -> Any:
    """Run a Python file, once a process while it does not change -> its module.

    Raises:
        ValueError: there is no such file, or it fails.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise ValueError(f'there is no task file "{path}"')
    return _run(file, file.read_bytes())


@lru_cache(maxsize=32)
def _run(file: Path, source: bytes) -> Any:
    name = f"_task_file_{zlib.crc32(str(file).encode()):08x}"
    module = types.ModuleType(name)
    module.__file__ = str(file)
    # Dataclasses look their module up; imports find the file's neighbours.
    sys.modules[name] = module
    sys.path.insert(0, str(file.parent))
    try:
        # Not by the import system, whose bytecode of a file edited a moment ago may be stale.
        exec(compile(source, str(file), "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(f'task file "{file}" failed: {type(error).__name__}: {error}') from error
    finally:
        sys.path.remove(str(file.parent))
    return module
