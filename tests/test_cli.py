"""The program as a user meets it."""

import subprocess
import sys
from pathlib import Path

import pytest

from pgx_jax import cli
from pgx_jax.envs.families import FAMILIES


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["pgx-jax", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    captured = capsys.readouterr()
    return stopped.value.code, captured.out, captured.err


def test_list_names_every_environment_with_its_extra(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "list")
    assert code == 0
    for name, entry in FAMILIES.items():
        assert name in out
        assert f'pip install "pgx_jax[{entry.extra}]"' in out


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_help(monkeypatch, capsys, arguments):
    code, out, _ = run(monkeypatch, capsys, *arguments)
    assert code == 0
    assert "pgx-jax" in out


def test_help_names_the_options(monkeypatch, capsys):
    _, out, _ = run(monkeypatch, capsys, "run", "--help")
    for option in [
        *("preset", "seed", "num-groups", "num-subsets", "subset-size", "dim", "out"),
        *("backend", "range", "task-file", "warm-start", "render"),
    ]:
        assert f"--{option}" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "cartpol"], 'unknown environment "cartpol"; did you mean "cartpole"?'),
        (["run", "cartpole", "--preset", "smok"], 'unknown preset "smok"; did you mean "smoke"?'),
        (["run", "cartpole", "--num-groups", "99"], "num_groups is 99; it must be between 1"),
        (["run", "cartpole", "--subset-size", "0"], "subset_size is 0; it must be between 2"),
        (["run", "cartpole", "--dim", "0"], "dim is 0; it must be at least 1"),
        (["run", "cartpole", "--backend", "envpool"], "has no backend to choose"),
        (["run", "cartpole", "--range", "gravity=5:20"], "has its published tasks"),
        (["run", "cartpole", "--warm-start", "expert"], 'did you mean "experts"?'),
        (["run", "cartpole", "--warm-start", "experts"], "has no scripted experts"),
        (["run", "gymnax:CartPole-v1", "--range", "gravty=5:20"], "gravity"),
        (["run", "gymnax:CartPole-v1"], "gravity"),
    ],
)
def test_a_mistake_is_one_line_and_starts_nothing(
    monkeypatch, capsys, tmp_path, arguments, message
):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("pgx-jax: ")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_is_one_line(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = run(
        monkeypatch, capsys, "run", "cartpole", "--preset", "smoke", "--out", f"{tmp_path}/file/x"
    )
    assert code == 2
    assert "cannot write to the output folder" in err
    assert err.count("\n") == 1


def test_a_missing_package_names_the_pip_command(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "gymnax", None)
    code, _, err = run(monkeypatch, capsys, "run", "cartpole", "--out", str(tmp_path))
    assert code == 2
    assert 'gymnax is missing: pip install "pgx_jax[run]"' in err


@pytest.mark.parametrize(
    ("environment", "package", "extra"),
    [
        ("lunarlander", "gymnasium", "lunarlander"),
        ("highway", "envpool", "highway"),
        ("metaworld-mt10", "envpool", "metaworld"),
        ("brax-ant", "brax", "brax"),
        ("gymnasium:CartPole-v1", "gymnasium", "gymnasium"),
    ],
)
def test_a_missing_extra_names_the_pip_command(
    monkeypatch, capsys, tmp_path, environment, package, extra
):
    """As a user without the package sees it, not from modules that are loaded already."""
    for name in [*sys.modules]:
        if name.split(".")[0] == package or name.startswith("pgx_jax.envs."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    code, out, err = run(monkeypatch, capsys, "run", environment, "--out", str(tmp_path / "out"))
    assert code == 2
    assert out == ""
    assert f'pip install "pgx_jax[{extra}]"' in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_program_runs_in_a_process_of_its_own(tmp_path):
    command = [sys.executable, "-c", "from pgx_jax.cli import main; main()"]
    options = ["run", "cartpole", "--preset", "smoke", "--num-groups", "2", "--out"]
    done = subprocess.run(
        [*command, *options, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "group 2 of " in done.stderr
    for name in ("report.json", "report.html", "metrics.jsonl"):
        assert (Path(tmp_path) / name).stat().st_size > 0
