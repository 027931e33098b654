import errno
import json
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from pgx_jax.experiments.store import (
    Artifact,
    ArtifactError,
    arrays_of,
    check_output_folder,
    load_artifact,
    restored,
    save_artifact,
    write_atomically,
)

ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "nested/b": np.array([True, False])}
ABOUT = {"hash": "h1", "note": "x"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    check_output_folder(tmp_path)
    save_artifact(tmp_path, "train/one", Artifact(ARRAYS, ABOUT))
    return tmp_path


def test_what_is_saved_comes_back(folder):
    found = load_artifact(folder, "train/one", "h1")
    assert found is not None
    assert set(found.arrays) == set(ARRAYS)
    for place, array in ARRAYS.items():
        np.testing.assert_array_equal(found.arrays[place], array)
    assert found.about["note"] == "x"


def test_another_hash_or_stage_is_not_there(folder):
    assert load_artifact(folder, "train/one", "h2") is None
    assert load_artifact(folder, "train/two", "h1") is None


def test_cut_short_arrays_are_named(folder):
    path = folder / "artifacts" / "train-one.npz"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ArtifactError, match=r"train-one\.npz is cut short.*delete .*run the same"):
        load_artifact(folder, "train/one", "h1")


def test_altered_arrays_are_named(folder):
    path = folder / "artifacts" / "train-one.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=r"train-one\.npz was altered"):
        load_artifact(folder, "train/one", "h1")


def test_missing_arrays_are_named(folder):
    (folder / "artifacts" / "train-one.npz").unlink()
    with pytest.raises(ArtifactError, match=r"train-one\.npz cannot be read"):
        load_artifact(folder, "train/one", "h1")


@pytest.mark.parametrize("content", ["{", "[]", '{"no": "hash"}', ""])
def test_broken_record_is_named(folder, content):
    (folder / "artifacts" / "train-one.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"record .*train-one\.json is cut short"):
        load_artifact(folder, "train/one", "h1")


def test_folder_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"cannot write to the output folder .*--out"):
        check_output_folder(tmp_path / "file" / "runs")


@pytest.fixture
def nobody():
    """Root, who may write anywhere, is no one in particular for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield
    if root:
        os.seteuid(0)


@pytest.fixture
def read_only_folder():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        yield Path(folder)


def test_folder_without_permission_cannot_be_written(read_only_folder, nobody):
    assert list(read_only_folder.iterdir()) == []  # it can be reached and read
    with pytest.raises(ArtifactError, match="cannot write to the output folder"):
        check_output_folder(read_only_folder)


def test_a_full_disk_leaves_the_old_file_and_no_partial_one(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(ArtifactError, match=r"No space left on device.*finished stages are kept"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


class Pair(NamedTuple):
    first: Any
    second: Any = None


def test_arrays_go_by_their_place():
    tree = {"agent": Pair({"params": {"Dense_0": {"kernel": np.ones((2, 3))}}}, np.zeros(2))}
    arrays = arrays_of(tree, "meta")
    assert list(arrays) == ["agent/first/params/Dense_0/kernel", "agent/second"]
    like = jax.tree.map(lambda _: 0, tree)
    found = restored(arrays, like, "meta")
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    jax.tree.map(np.testing.assert_array_equal, found, tree)


def test_one_array_goes_by_its_name_and_a_record_by_its_fields():
    np.testing.assert_array_equal(restored(arrays_of(np.arange(3), "one"), None, "one"), [0, 1, 2])
    found = restored(arrays_of(Pair(np.ones(2), np.zeros(1)), "pair"), Pair, "pair")
    assert isinstance(found, Pair)
    np.testing.assert_array_equal(found.second, [0.0])
    # What was None has no array; the record's default is None.
    assert restored(arrays_of(Pair(np.ones(2)), "pair"), Pair, "pair").second is None


def test_a_place_that_is_missing_is_named():
    with pytest.raises(KeyError, match="b/c"):
        restored({"a": np.ones(2)}, {"a": 0, "b": {"c": 0}}, "any")


def test_the_record_is_readable_json(folder):
    about = json.loads((folder / "artifacts" / "train-one.json").read_text())
    assert about["bytes"] == (folder / "artifacts" / "train-one.npz").stat().st_size
