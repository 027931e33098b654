"""Options made from nested dataclasses."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from pgx_jax.command_line import CommandLineError, given_options, options_of, read_command


@dataclass(frozen=True)
class TaskSettings:
    """The tasks."""

    environment: str
    """Task family."""
    ranges: tuple[str, ...] = field(default=(), metadata={"option": "range"})
    """What varies."""
    num_tasks: int = 10
    """Source tasks n."""
    identity: "str | Callable" = "hidden"
    """What policies see of the task."""
    wrapper: Callable = print

    def __post_init__(self) -> None:
        if self.num_tasks < 2:
            raise ValueError("too few tasks")


@dataclass(frozen=True)
class FitSettings:
    """The fits.

    Attributes:
        l2: ridge penalty.
    """

    l2: float = 0.01


@dataclass(frozen=True)
class EstimationSettings:
    """The estimation."""

    fits: FitSettings = FitSettings()
    num_subsets: int | None = None
    """Subsets m."""
    score: Literal["rollout", "surrogate"] = "rollout"
    """Policy evaluation."""


@dataclass(frozen=True)
class RunConfig:
    """A run."""

    tasks: TaskSettings
    estimation: EstimationSettings = EstimationSettings()
    seed: int = 0
    """Of everything."""


@dataclass(frozen=True)
class Run(RunConfig):
    """Run it."""

    out: Path | None = None
    """Output folder."""
    render: bool = False
    """Draw."""


@dataclass(frozen=True)
class Show:
    """Show it."""

    name: str = field(default="", metadata={"positional": True})
    """What to show."""


def read(text, preset=lambda command: None):
    commands = {"run": Run, "show": Show}
    return read_command(
        text.split(), commands, program="program", description="What it does.", preset=preset
    )


def test_options_have_the_names_of_the_leaves():
    command = read("run pole --range g=1:2 --range l=-1 --num_tasks=3 --l2 1e-3 --render --out -")
    assert isinstance(command, Run)
    assert isinstance(command.estimation.fits, FitSettings)
    assert given_options(command) == {
        "environment": "pole",
        "ranges": ("g=1:2", "l=-1"),
        "num_tasks": 3,
        "l2": 1e-3,
        "seed": 0,
        "render": True,
        "out": Path("-"),
    }


def test_positional_arguments_may_have_a_default():
    assert given_options(read("show")) == {"name": ""}
    assert given_options(read("show this")) == {"name": "this"}


def test_what_is_not_given_stays_open():
    command = read("run pole --num-subsets 7 --num-tasks 1")
    assert (command.estimation.num_subsets, command.tasks.num_tasks) == (7, 1)
    assert (command.estimation.fits.l2, command.estimation.score, command.out) == (None,) * 3
    assert command.tasks.ranges == ()


def test_help_has_the_descriptions_and_no_value_without_a_preset(capsys):
    with pytest.raises(SystemExit) as stopped:
        read("run --help")
    out = capsys.readouterr().out
    assert stopped.value.code == 0
    words = ("--range STR", "What varies.", "The estimation.", "ridge penalty.", "--l2 FLOAT")
    for word in (*words, "ENVIRONMENT", "{rollout,surrogate}", "--identity STR"):
        assert word in out
    assert "wrapper" not in out
    assert out.count("default:") == 1  # of the seed


def test_help_shows_the_values_of_the_preset(capsys):
    seen = []

    def preset(command):
        seen.append(given_options(command))
        return RunConfig(TaskSettings("pole", num_tasks=77), seed=5)

    with pytest.raises(SystemExit):
        read("run pole --l2 3 --help", preset)
    out = capsys.readouterr().out
    assert seen == [{"environment": "pole", "l2": 3.0, "seed": 0, "render": False}]
    for value in ("77", "0.01", "rollout", "hidden", "5"):
        assert f"(default: {value})" in out


def test_help_of_the_program_names_the_commands(capsys):
    with pytest.raises(SystemExit):
        read("--help")
    out = capsys.readouterr().out
    assert "What it does." in out
    assert "Run it." in out
    assert "Show it." in out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "say what to do: program run, or program show, or --help"),
        ("rum", 'unknown command "rum"; did you mean "run"?'),
        ("x", 'unknown command "x". It is one of: run, show'),
        ("run", "missing from program run: ENVIRONMENT Task family."),
        ("run a --num_taks 3", 'unknown option "--num_taks"; did you mean "--num-tasks"?'),
        ("run a --ranges g", 'unknown option "--ranges"; did you mean "--range"?'),
        ("run a --wrapper x", 'unknown option "--wrapper"'),
        ("run a -x", 'unknown option "-x". program run --help names the options'),
        ("run a --l2 b", 'error parsing --l2: it takes a number, not "b"; program run --help'),
        ("run a --num-subsets 2.5", '--num-subsets: it takes a whole number, not "2.5"'),
        ("run a --score x", "invalid choice 'x' for argument '--score'. Expected one of"),
        ("run a --seed", "missing value for argument '--seed'"),
        ("run a --out --render", "missing value for argument '--out'"),
        ("run a --render=yes", '--render takes no value; leave "=yes" out'),
        ("run a b", 'unexpected argument "b"; program run --help says what it takes'),
        ("run a --seed 1 --range g=1 l=2", 'write "--range l=2"; --range goes before every value'),
    ],
)
def test_mistakes_are_one_line(capsys, text, message):
    with pytest.raises(CommandLineError) as raised:
        read(text)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert capsys.readouterr() == ("", "")


def test_two_options_of_one_name_are_refused():
    @dataclass(frozen=True)
    class Twice:
        fits: FitSettings = FitSettings()
        l2: float = 1.0

    with pytest.raises(ValueError, match='two settings in Twice are called "l2"'):
        options_of(Twice)
