"""The program as a user meets it."""

import os
import subprocess
import sys

import pytest

from pgx_jax import cli
from pgx_jax.command_line import given_options, read_command
from pgx_jax.envs.families import FAMILIES


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["pgx-jax", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    captured = capsys.readouterr()
    return stopped.value.code, captured.out, captured.err


def test_list_names_every_environment_with_its_extra(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    code, out, _ = run(monkeypatch, capsys, "list")
    assert code == 0
    # The table of environments ends with an empty line.
    table = out[: out.index("\n\n")].splitlines()
    rows = {line.split()[0]: line.split()[1] for line in table}
    for name, entry in FAMILIES.items():
        assert rows[name] == entry.extra
    assert (rows["gymnax:NAME"], rows["gymnasium:ID"]) == ("run", "gymnasium")
    assert 'pip install "pgx_jax[EXTRA]"' in out


def test_list_can_be_scanned(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    _, out, _ = run(monkeypatch, capsys, "list")
    lines = out.splitlines()
    assert len(lines) <= 48
    assert max(map(len, lines)) <= 108


def test_list_of_one_environment(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "list", "metaworld-mt50")
    assert code == 0
    assert 'pip install "pgx_jax[metaworld]"' in out
    assert "--backend: envpool (default), metaworld" in out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    assert rows["option"] == ["smoke", "default", "paper"]
    assert rows["--num-steps"] == ["128", "2,048", "2,048"]


def test_list_of_gymnax(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    code, out, _ = run(monkeypatch, capsys, "list", "gymnax")
    assert code == 0
    assert "Pendulum-v1" in out
    # Names are wrapped, several in a line.
    assert len(out.splitlines()) < out.count(",")
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= 60
    code, out, _ = run(monkeypatch, capsys, "list", "gymnax:CartPole-v1")
    assert code == 0
    assert "gravity=9.8" in out
    assert "total_mass" not in out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cartpol", 'did you mean "cartpole"?'),
        ("gymnax:CartPol-v1", 'did you mean "CartPole-v1"?'),
        ("gymnasium:CartPol-v1", "CartPole-v1"),
    ],
)
def test_list_of_an_unknown_environment(monkeypatch, capsys, name, message):
    code, out, err = run(monkeypatch, capsys, "list", name)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


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
        (["run", "gymnax:CartPol-v1", "--range", "g=1:2"], 'did you mean "CartPole-v1"?'),
        (["run", "Pendulum-v1"], 'did you mean "gymnasium:Pendulum-v1" or "gymnax:Pendulum-v1"?'),
        (["run", "gymnax:Pendulum-v1", "--range", "g"], 'range "g" is not of the form'),
        (["run", "gymnax:Pendulum-v1", "--range", "g="], "such as gravity=5:20"),
        (["run", "gymnax:Pendulum-v1", "--range", "g=a:b"], '"a:b" is not LOW:HIGH with two num'),
        (["run", "gymnax:Pendulum-v1", "--range", "g=9:5"], "low 9 is above high 5"),
        (["run", "gymnax:Pendulum-v1", "--range", "g=1:2:lg"], 'unknown scale "lg"'),
        (["run", "gymnax:Pendulum-v1", "--range"], "missing value for argument '--range'"),
        (["run", "gymnax:Pendulum-v1", "--range", "g=1:2", "m=1:2"], 'write "--range m=1:2"'),
        (["run", "cartpole", "--foo"], 'unknown option "--foo". pgx-jax run --help names'),
        (["run", "cartpole", "-x"], 'unknown option "-x"'),
        (["run", "cartpole", "--num_grops=3"], 'did you mean "--num-groups"?'),
        (["run", "cartpole", "--prest", "smoke"], 'did you mean "--preset"?'),
        (["run", "cartpole", "--seed", "one"], '--seed: it takes a whole number, not "one"'),
        (["run", "cartpole", "--num-groups", "2.5"], "--num-groups: it takes a whole number"),
        (["run", "cartpole", "--l2=small"], '--l2: it takes a number, not "small"'),
        (["run", "cartpole", "--preset", "--render"], "missing value for argument '--preset'"),
        (["run", "cartpole", "--render=yes"], "--render takes no value"),
        (["run", "cartpole", "smoke"], 'unexpected argument "smoke"'),
        (["run"], "missing from pgx-jax run: ENVIRONMENT"),
        ([], "say what to do: pgx-jax run, or pgx-jax list, or pgx-jax reproduce"),
        (["rum", "cartpole"], 'unknown command "rum"; did you mean "run"?'),
        (["list", "--all"], 'unknown option "--all"'),
        (["list", "gymnax", "more"], 'unexpected argument "more"'),
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


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["run", "cartpole", "--seed=3", "--num_groups", "2", "--render", "--l2", "1e-3"],
            {"environment": "cartpole", "seed": 3, "num_groups": 2, "render": True, "l2": 1e-3},
        ),
        (
            [
                "run",
                "--preset",
                "smoke",
                "cartpole",
                "--range=g=-5:-1",
                "--range",
                "l=-1",
                "--out",
                "-",
            ],
            {"environment": "cartpole", "preset": "smoke", "ranges": ("g=-5:-1", "l=-1")},
        ),
        (["list"], {"environment": ""}),
        (["list", "gymnax"], {"environment": "gymnax"}),
    ],
)
def test_what_is_right_passes(arguments, expected):
    commands = {"run": cli.Run, "list": cli.List}
    command = read_command(arguments, commands, program="pgx-jax", description="")
    assert isinstance(command, commands[arguments[0]])
    assert expected.items() <= given_options(command).items()


@pytest.mark.parametrize(("preset", "value"), [("smoke", 256), ("default", 8192)])
def test_help_shows_what_the_preset_takes(monkeypatch, capsys, preset, value):
    arguments = ["run", "cartpole", "--preset", preset, "--help"]
    code, out, _ = run(monkeypatch, capsys, *arguments)
    assert code == 0
    # Of --num-steps.
    assert f"(default: {value})" in out


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["run", "cartpole", "--foo"]])
def test_help_and_mistakes_load_nothing_heavy(arguments):
    code = (
        f"import sys; from pgx_jax import cli; sys.argv[1:] = {arguments!r}\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'jax', 'flax', 'optax', 'matplotlib', 'numpy', 'gymnax'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_a_malformed_range_needs_no_package(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    code, _, err = run(monkeypatch, capsys, "run", "gymnasium:Pendulum-v1", "--range", "g")
    assert code == 2
    assert 'range "g" is not of the form' in err


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
@pytest.mark.parametrize(
    ("environment", "ranges"),
    [("gymnasium:Pendulum-v1", ["g=5:15"]), ("lunarlander", []), ("highway", [])],
)
def test_drawing_under_the_program_opens_no_sound_device(environment, ranges):
    """Where there is none, SDL and ALSA would complain in many lines."""
    code = (
        "import pgx_jax.cli; from pgx_jax.envs.families import make_family\n"
        f"family = make_family({environment!r}, num_tasks=2, num_test_tasks=1, ranges={ranges})\n"
        "print(len(family.render(0, lambda observation: 0, 2)))\n"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SDL_")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=plain
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "2"
    assert not [line for line in done.stderr.splitlines() if "ALSA" in line or "XDG" in line]
