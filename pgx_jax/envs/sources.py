"""What a family is made from beyond this package: digests of a user's files.

A stage of a run is reused while what it depends on is unchanged; a user's own environment is part
of that. Modules are read, not imported.
"""

import ast
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from pgx_jax.envs.families import find_family

_OURS = "pgx_jax"


def source_of(name: str, task_file: str | None = None) -> dict[str, str]:
    """Digests of the user's files that a family's tasks and environment depend on.

    These are the task file; the module of ``gymnasium:MODULE:ID``; the module of a maker from
    outside this package; and the modules beside them, in the same folder or below it, that they
    import or name as "module:Class" in a string, and those that these import. What is installed
    counts for the maker's package alone.

    Args:
        name: of the family, as in ``find_family``.
        task_file: path of the task file.

    Returns:
        The first 16 hexadecimal digits of SHA-256 by module, and by "task_file"; {} for a family
        of this package.

    Raises:
        ValueError: an unknown name, or there is no such task file.
    """
    entry, library_name = find_family(name)
    digests = {}
    if task_file is not None:
        file = Path(task_file).resolve()
        if not file.is_file():
            raise ValueError(f'there is no task file "{task_file}"')
        digests = {**_digests(file, file.parent), "task_file": _digest(file.read_bytes())}
        digests.pop(file.stem, None)
    maker: Any = getattr(entry.maker, "func", entry.maker)
    if library_name:
        module = library_name.rpartition(":")[0] if name.startswith("gymnasium:") else ""
    else:
        # A partial function is its function's.
        module = entry.module if isinstance(maker, str) else maker.__module__
    if not module or module.split(".")[0] == _OURS:
        return digests
    file = _file_of(module)
    if file is not None:
        folder = file.parents[module.count(".") + (file.name == "__init__.py")]
        return {**digests, **_digests(file, folder)}
    # Defined where there is no file, as in a notebook.
    if not isinstance(maker, str):
        try:
            return {**digests, module: _digest(inspect.getsource(maker).encode())}
        except (OSError, TypeError):
            pass
    return digests


def _file_of(module: str) -> Path | None:
    """The file of a module, found without importing its packages."""
    top, *parts = module.split(".")
    spec = PathFinder.find_spec(top)
    for part in parts:
        places = spec and spec.submodule_search_locations
        spec = PathFinder.find_spec(part, places) if places else None
    origin = (spec and spec.origin) or getattr(sys.modules.get(module), "__file__", None)
    return Path(origin).resolve() if origin and origin.endswith(".py") else None


def _digests(file: Path, folder: Path) -> dict[str, str]:
    """Digests by module of a file and of all that it needs in a folder."""
    waiting, digests = [file, *_files_in(folder, _name_of(file, folder))], {}
    only = None
    standard = Path(sysconfig.get_paths()["stdlib"]).resolve()
    if folder == standard or folder.name in ("site-packages", "dist-packages"):
        # Among installed packages, not every module in the folder is the user's.
        only = file.relative_to(folder).parts[0].removesuffix(".py")
    while waiting:
        file = waiting.pop()
        name = _name_of(file, folder)
        if name in digests:
            continue
        source = file.read_bytes()
        digests[name] = _digest(source)
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        for needed in _needed(source, package):
            top = needed.split(".")[0]
            if top != _OURS and only in (None, top):
                waiting += _files_in(folder, needed)
    return dict(sorted(digests.items()))


def _needed(source: bytes, package: str) -> Iterator[str]:
    """Dotted names that a module may import; some are attributes of modules instead."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: package.count(".") + 2 - node.level]
                base = ".".join([*parents, base] if base else parents)
            yield from (f"{base}.{alias.name}".strip(".") for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # Gymnasium's way to say where an environment is.
            module, colon, name = node.value.partition(":")
            if colon and name.isidentifier() and module.replace(".", "").isidentifier():
                yield module


def _files_in(folder: Path, name: str) -> Iterator[Path]:
    """The files that importing a dotted name would run, packages first."""
    place = folder
    for part in name.split("."):
        place = place / part
        for file in (place / "__init__.py", place.with_suffix(".py")):
            if part and file.is_file():
                yield file


def _name_of(file: Path, folder: Path) -> str:
    parts = file.relative_to(folder).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
