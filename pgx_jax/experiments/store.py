"""Artifacts on disk: one per stage, written whole or not at all, known by a hash."""

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

Arrays = dict[str, np.ndarray]
"""Arrays by their place in a pytree, such as "agent/policy/params/Dense_0/kernel"."""


class ArtifactError(RuntimeError):
    """An artifact on disk cannot be used; the message says which and what to do."""


class Artifact(NamedTuple):
    """What one stage left.

    Attributes:
        arrays: by place.
        about: what was recorded beside them: hash, settings, seconds, environment steps.
    """

    arrays: Arrays
    about: dict[str, Any]


def arrays_of(value: Any, name: str) -> Arrays:
    """The leaves of a pytree as arrays, by place; a value that is one array goes by ``name``."""
    leaves = jax.tree_util.tree_leaves_with_path(value)
    return {_place(path) or name: np.asarray(leaf) for path, leaf in leaves}


def restored(arrays: Arrays, like: Any, name: str) -> Any:
    """The pytree that ``arrays_of`` took apart.

    Args:
        arrays: by place.
        like: a pytree of that structure, whatever its leaves; the class of a NamedTuple of
            arrays; None for one array.
        name: of that array.

    Returns:
        The pytree.

    Raises:
        KeyError: ``like`` has a place that the arrays lack.
    """
    if like is None:
        return arrays[name]
    if isinstance(like, type):
        return like(**arrays)
    return jax.tree_util.tree_map_with_path(lambda path, _: arrays[_place(path)], like)


def _place(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def check_output_folder(folder: Path) -> None:
    """Make the folder of a run and try to write in it.

    Raises:
        ArtifactError: it cannot be made or written to.
    """
    check_writable(folder / "artifacts")


def check_writable(folder: Path) -> None:
    """Make a folder and try to write in it.

    Raises:
        ArtifactError: it cannot be made or written to.
    """
    probe = folder / ".probe"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"probe")
        probe.unlink()
    except OSError as error:
        raise ArtifactError(
            f"cannot write to the output folder {folder} ({error.strerror}); pass another "
            "one (--out, --json), or change its permissions"
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the target, then rename: a killed run leaves no half file.

    Raises:
        ArtifactError: the disk is full, or the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ArtifactError(
            f"cannot write {path} ({error.strerror}); make room and run the same command again: "
            "finished stages are kept"
        ) from error


def save_artifact(folder: Path, stage: str, artifact: Artifact) -> None:
    """Write an artifact: its arrays first, then the record that makes them valid.

    Raises:
        ArtifactError: as ``write_atomically``.
    """
    buffer = io.BytesIO()
    flat: dict[str, Any] = artifact.arrays
    np.savez(buffer, **flat)
    content = buffer.getvalue()
    arrays, record = _paths(folder, stage)
    about = {
        **artifact.about,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    # A kill between the two writes must not leave an old record beside new arrays.
    record.unlink(missing_ok=True)
    write_atomically(arrays, content)
    write_atomically(record, (json.dumps(about, indent=1) + "\n").encode())


def load_artifact(folder: Path, stage: str, expected_hash: str) -> Artifact | None:
    """The artifact of that hash, or None where there is none.

    Raises:
        ArtifactError: the record says that the artifact is there, but the arrays are cut short
            or altered, or the record itself cannot be read.
    """
    arrays, record = _paths(folder, stage)
    if not record.exists():
        return None
    remedy = f"delete {record} and run the same command again to recompute it"
    try:
        about = json.loads(record.read_text())
        found, size, checksum = about["hash"], about["bytes"], about["sha256"]
    except OSError as error:
        raise ArtifactError(f"the record {record} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"the record {record} is cut short or altered; {remedy}") from error
    if found != expected_hash:
        return None
    try:
        content = arrays.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{arrays} cannot be read ({error.strerror}); {remedy}") from error
    if len(content) != size:
        raise ArtifactError(
            f"the artifact {arrays} is cut short: {len(content)} of {size} bytes; {remedy}"
        )
    if hashlib.sha256(content).hexdigest() != checksum:
        raise ArtifactError(f"the artifact {arrays} was altered since it was written; {remedy}")
    with np.load(io.BytesIO(content)) as stored:
        return Artifact({name: stored[name] for name in stored.files}, about)


def _paths(folder: Path, stage: str) -> tuple[Path, Path]:
    base = folder / "artifacts" / stage.replace("/", "-")
    return base.with_suffix(".npz"), base.with_suffix(".json")
