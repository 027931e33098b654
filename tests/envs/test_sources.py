"""Digests of the user's files that a family is made from."""

import hashlib
import subprocess
import sys

import pytest

from pgx_jax.envs.families import FAMILIES, FamilyEntry
from pgx_jax.envs.sources import source_of

FILES = {
    "maze.py": "import walls\nfrom pack import thing\nregister(entry_point='pack.sub.env:Env')\n",
    "walls.py": "import numpy\nimport bricks\n",
    "bricks.py": "HEIGHT = 2\n",
    "pack/__init__.py": "from . import other\n",
    "pack/thing.py": "",
    "pack/other.py": "",
    "pack/base.py": "",
    "pack/sub/__init__.py": "",
    "pack/sub/env.py": "from ..base import Base\n",
    "unused.py": "",
    "tasks.py": "import walls\nranges = {'size': (1, 2)}\n",
}
NEEDED = {"maze", "walls", "bricks", "pack", "pack.thing", "pack.other", "pack.base"}
NEEDED |= {"pack.sub", "pack.sub.env"}
NAME = "gymnasium:maze:Maze-v0"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_module_with_what_it_imports_beside_it(folder):
    digests = source_of(NAME)
    assert set(digests) == NEEDED
    expected = hashlib.sha256((folder / "maze.py").read_bytes()).hexdigest()[:16]
    assert digests["maze"] == expected
    assert source_of(NAME) == digests


@pytest.mark.parametrize(
    ("name", "changes"), [("bricks.py", True), ("pack/base.py", True), ("unused.py", False)]
)
def test_change_with_what_is_needed_alone(folder, name, changes):
    before = source_of(NAME)
    (folder / name).write_text("x = 1\n")
    after = source_of(NAME)
    assert (after != before) == changes
    module = name.removesuffix(".py").replace("/", ".")
    assert {key for key in before if before[key] != after[key]} == ({module} if changes else set())


def test_a_module_of_a_package_comes_with_its_packages(folder):
    digests = source_of("gymnasium:pack.sub.env:Env-v0")
    assert set(digests) == {"pack", "pack.other", "pack.base", "pack.sub", "pack.sub.env"}


def test_a_task_file_with_its_neighbours(folder):
    file = folder / "tasks.py"
    digests = source_of("gymnax:CartPole-v1", str(file))
    assert set(digests) == {"task_file", "walls", "bricks"}
    assert digests["task_file"] == hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    assert set(source_of(NAME, str(file))) == {*NEEDED, "task_file"}
    with pytest.raises(ValueError, match="there is no task file"):
        source_of("gymnax:CartPole-v1", str(folder / "nowhere.py"))


def test_makers_from_outside(folder, monkeypatch):
    entries = dict(FAMILIES._entries)
    monkeypatch.setattr(FAMILIES, "_entries", entries)
    FAMILIES.register("by-name", FamilyEntry("walls", "make_walls"))
    FAMILIES.register("by-function", FamilyEntry(maker=make_nothing))
    assert set(source_of("by-name")) == {"walls", "bricks"}
    assert f"{__name__}" in source_of("by-function")


def make_nothing(**options):
    del options


def test_our_own_families_have_none():
    for name in (*FAMILIES, "gymnax:CartPole-v1", "gymnasium:Pendulum-v1"):
        assert source_of(name) == {}
    # Neither is what is not there; making the family says so.
    assert source_of("gymnasium:no_such_module:Thing-v0") == {}


def test_files_that_cannot_be_read_as_python_count_as_they_are(folder):
    (folder / "maze.py").write_text("this is not Python")
    assert set(source_of(NAME)) == {"maze"}


def test_nothing_is_imported(folder):
    (folder / "maze.py").write_text("raise SystemExit('imported')\n")
    code = (
        "import sys; from pgx_jax.envs.sources import source_of\n"
        f"print(len(source_of({NAME!r})), 'jax' in sys.modules, 'gymnasium' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.append({str(folder)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "1 False False"
