import errno
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from pgx_jax.experiments.store import (
    Artifact,
    ArtifactError,
    check_output_folder,
    load_artifact,
    save_artifact,
    stage_hash,
    write_atomically,
)

TREE = {"a": np.arange(6.0).reshape(2, 3), "nested": {"b": np.array([True, False])}}
ABOUT = {"hash": "h1", "note": "x"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    check_output_folder(tmp_path)
    save_artifact(tmp_path, "train/one", Artifact(TREE, ABOUT))
    return tmp_path


def test_what_is_saved_comes_back(folder):
    found = load_artifact(folder, "train/one", "h1")
    assert found is not None
    np.testing.assert_array_equal(found.tree["a"], TREE["a"])
    np.testing.assert_array_equal(found.tree["nested"]["b"], TREE["nested"]["b"])
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


def test_hash_depends_on_settings_and_parents_but_not_their_order():
    base = stage_hash("s", {"a": 1, "b": 2}, {"p": "x"})
    assert base == stage_hash("s", {"b": 2, "a": 1}, {"p": "x"})
    assert base != stage_hash("s", {"a": 1, "b": 3}, {"p": "x"})
    assert base != stage_hash("s", {"a": 1, "b": 2}, {"p": "y"})
    assert base != stage_hash("t", {"a": 1, "b": 2}, {"p": "x"})


def test_the_record_is_readable_json(folder):
    about = json.loads((folder / "artifacts" / "train-one.json").read_text())
    assert about["bytes"] == (folder / "artifacts" / "train-one.npz").stat().st_size
