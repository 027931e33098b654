"""Ranges, tasks drawn from them, and task files."""

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pgx_jax.envs.parameters import (
    REQUIRED,
    Parameter,
    Range,
    draw_tasks,
    fit_ranges,
    load_task_file,
    parse_ranges,
)
from pgx_jax.envs.ranges import as_range, sample_tasks

WRONG_SCALE: Any = "lin"
PARAMETERS = {
    "gravity": Parameter(9.8, float),
    "length": Parameter(0.5, float),
    "lanes": Parameter(4, int),
    "wind": Parameter(False, bool),
    "mode": Parameter("easy"),
    "untyped": Parameter(3),
    "size": Parameter(REQUIRED, int),
    "total": Parameter(1.5, float, "it follows from gravity"),
}


def write(tmp_path, text, name="tasks.py"):
    file = tmp_path / name
    file.write_text(text)
    return file


def draw(given, **options):
    options = {"num_tasks": 6, "num_test_tasks": 4, "seed": 0, **options}
    return draw_tasks("toy", given, PARAMETERS, **options)


class TestSyntax:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("gravity=5:20", Range(5, 20)),
            ("gravity = -11.5 : -3", Range(-11.5, -3)),
            ("length=0.15:3:log", Range(0.15, 3, "log")),
            ("length=1e-3:1e2:log", Range(1e-3, 100.0, "log")),
            ("lanes=2:5:int", Range(2, 5, "integer")),
            ("lanes=2:5:uniform", Range(2, 5)),
            ("wind=true,false", Range(0, 0, "choice", (True, False))),
            ("mode=easy, hard,2,0.5", Range(0, 0, "choice", ("easy", "hard", 2, 0.5))),
            ("mass=1", Range(0, 0, "choice", (1,))),
            ("mass=-1.5", Range(0, 0, "choice", (-1.5,))),
            ("mode=a=b", Range(0, 0, "choice", ("a=b",))),
        ],
    )
    def test_command_line(self, text, expected):
        (limits,) = parse_ranges([text]).values()
        assert limits == expected
        assert [type(value) for value in limits.values] == [type(v) for v in expected.values]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("gravity", r'range "gravity" is not of the form NAME=LOW:HIGH'),
            ("=3", "is not of the form"),
            ("gravity=", "is not of the form"),
            ("gravity=a:b", r'range of "gravity": "a:b" is not LOW:HIGH with two numbers'),
            ("gravity=true:2", "with two numbers"),
            ("gravity=1:", "with two numbers"),
            ("gravity=20:5", r'range of "gravity": low 20 is above high 5'),
            ("length=0:3:log", r'"length": a log scale needs positive bounds, not 0'),
            ("length=-1:3:log", r"positive bounds, not -1"),
            ("length=1:3:lin", r'unknown scale "lin"; known: linear'),
            ("length=1:3:", 'unknown scale ""'),
            ("lanes=1.5:3:int", r'"lanes": 1.5 to 3 are not integers'),
            ("gravity=1:inf", "is not finite"),
            ("gravity=nan:1", "is not finite"),
            ("mode=a,,b", r'"mode": a choice lacks a value'),
        ],
    )
    def test_what_is_wrong_is_said(self, text, message):
        with pytest.raises(ValueError, match=message):
            parse_ranges([text])

    def test_two_ranges_of_one_parameter(self):
        with pytest.raises(ValueError, match='"a" has two ranges'):
            parse_ranges(["a=1:2", "b=1:2", "a=3:4"])

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("5:20", Range(5, 20)),
            ((5, 20), Range(5, 20)),
            ((0.1, 2.0, "log"), Range(0.1, 2.0, "log")),
            ((2, 5, "int"), Range(2, 5, "integer")),
            ([1, 2, 4], Range(0, 0, "choice", (1, 2, 4))),
            (3, Range(0, 0, "choice", (3,))),
            (None, Range(0, 0, "choice", (None,))),
            ({"a": 1}, Range(0, 0, "choice", ({"a": 1},))),
            (Range(1, 2), Range(1, 2)),
        ],
    )
    def test_python(self, value, expected):
        assert as_range("x", value) == expected

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ((1,), r"is not \(low, high\)"),
            ((1, 2, "log", 3), r"is not \(low, high\)"),
            (("a", "b"), "a list is a choice"),
            ((True, False), "a list is a choice"),
            ((2, 1), "low 2 is above high 1"),
            ([], "lacks a value"),
            (Range(2, 1), "low 2 is above high 1"),
            (Range(1, 2, WRONG_SCALE), 'unknown scale "lin"'),
            (Range(0, 2, "log"), "positive bounds"),
        ],
    )
    def test_wrong_python(self, value, message):
        with pytest.raises(ValueError, match=message):
            as_range("x", value)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("x=5:20", "U[5, 20]"),
            ("x=0.15:3:log", "log-U[0.15, 3]"),
            ("x=2:5:int", "integer U[2, 5]"),
            ("x=true,false", "in {true, false}"),
            ("x=1", "= 1"),
        ],
    )
    def test_shown(self, text, expected):
        assert str(parse_ranges([text])["x"]) == expected


class TestFit:
    def test_bounds_take_the_type_of_the_parameter(self):
        given = parse_ranges(["gravity=5:20", "lanes=2:5", "wind=true,false", "mode=easy,hard"])
        fitted = fit_ranges("toy", given, PARAMETERS)
        assert fitted["gravity"] == Range(5.0, 20.0)
        assert isinstance(fitted["gravity"].low, float)
        assert fitted["lanes"] == Range(2, 5, "integer")
        assert fitted["wind"].values == (True, False)
        assert fitted["mode"].values == ("easy", "hard")

    @pytest.mark.parametrize(
        ("text", "scale"),
        [("untyped=1:4", "integer"), ("untyped=1:4.5", "linear"), ("untyped=1:4:log", "log")],
    )
    def test_untyped_integers(self, text, scale):
        assert fit_ranges("toy", parse_ranges([text]), PARAMETERS)["untyped"].scale == scale

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("gravty=5:20", r'toy has no parameter "gravty"; did you mean "gravity"\?'),
            ("zzzz=5:20", r'toy has no parameter "zzzz"\. Its parameters: gravity = 9.8, '),
            ("zzzz=5:20", r"lanes = 4, wind = false, mode = easy, untyped = 3, size$"),
            ("total=1:2", '"total" cannot vary: it follows from gravity'),
            ("lanes=1.5:3", '"lanes" is an integer; 1.5 is not'),
            ("lanes=2.5,3", '"lanes" is an integer; 2.5 is not'),
            ("wind=0:1", '"wind" is true or false; give wind=true,false'),
            ("wind=0,1", '"wind" is true or false; 0 is not'),
            ("gravity=low,high", '"gravity" is a number; low is not'),
            ("gravity=true,false", '"gravity" is a number; true is not'),
        ],
    )
    def test_what_does_not_fit(self, text, message):
        with pytest.raises(ValueError, match=message):
            fit_ranges("toy", parse_ranges([text]), PARAMETERS)

    @pytest.mark.parametrize("texts", [[], ["gravity=5"], ["gravity=5:5", "mode=easy"]])
    def test_nothing_varies(self, texts):
        with pytest.raises(
            ValueError, match=r"all tasks would be the same.*NAME=LOW:HIGH.*gravity = 9\.8"
        ):
            fit_ranges("toy", parse_ranges(texts), PARAMETERS)

    def test_others_where_they_are_taken(self):
        given = parse_ranges(["zzzz=5:20"])
        assert fit_ranges("toy", given, PARAMETERS, takes_others=True)["zzzz"] == Range(5, 20)


class TestSamples:
    SAMPLES = 4000

    def column(self, text, name="x"):
        tasks = sample_tasks(parse_ranges([f"{name}={text}"]), 0, self.SAMPLES)
        return [task[name] for task in tasks]

    def test_uniform(self):
        values = np.array(self.column("5:20"))
        assert stats.kstest((values - 5) / 15, "uniform").pvalue > 0.01

    def test_log_uniform(self):
        values = np.array(self.column("0.15:3:log"))
        unit = np.log(values / 0.15) / math.log(20)
        assert stats.kstest(unit, "uniform").pvalue > 0.01
        assert stats.kstest((values - 0.15) / 2.85, "uniform").pvalue < 1e-6

    def test_integers_include_both_ends_evenly(self):
        values = self.column("-1:3:int")
        assert {type(value) for value in values} == {int}
        counts = np.bincount(np.array(values) + 1)
        assert len(counts) == 5
        assert stats.chisquare(counts).pvalue > 0.01

    def test_choices_evenly(self):
        values = self.column("true,7,easy")
        counts = [values.count(value) for value in (True, 7, "easy")]
        assert sum(counts) == self.SAMPLES
        assert stats.chisquare(counts).pvalue > 0.01
        assert True in values
        assert all(value is True or value in (7, "easy") for value in values)

    def test_fixed(self):
        assert set(self.column("2.5")) == {2.5}

    def test_rounded_where_asked(self):
        tasks = sample_tasks(parse_ranges(["x=1:100:log"]), 0, 50, integers=["x"])
        assert {type(task["x"]) for task in tasks} == {int}

    def test_parameters_are_independent(self):
        tasks = sample_tasks(parse_ranges(["x=0:1", "y=0:1"]), 0, self.SAMPLES)
        columns = np.array([[task["x"], task["y"]] for task in tasks]).T
        assert abs(np.corrcoef(columns)[0, 1]) < 4 / math.sqrt(self.SAMPLES)

    @given(
        few=st.integers(0, 10),
        more=st.integers(0, 20),
        seed=st.integers(0, 2**31),
    )
    def test_first_tasks_are_the_same_whatever_their_number(self, few, more, seed):
        ranges = parse_ranges(["a=0:1", "b=1:9:log", "c=1:4:int", "d=x,y"])
        many = sample_tasks(ranges, seed, few + more)
        assert many[:few] == sample_tasks(ranges, seed, few)

    def test_a_parameter_is_drawn_alike_whatever_the_others(self):
        alone = sample_tasks(parse_ranges(["b=0:1"]), 3, 5)
        among = sample_tasks(parse_ranges(["c=0:1", "b=0:1", "a=0:1"]), 3, 5)
        assert [task["b"] for task in among] == [task["b"] for task in alone]
        assert [task["b"] for task in among] != [task["a"] for task in among]

    @given(
        low=st.floats(1e-6, 1e6),
        factor=st.floats(1.0, 1e6),
        scale=st.sampled_from(["linear", "log"]),
        seed=st.integers(0, 1000),
    )
    def test_values_stay_inside(self, low, factor, scale, seed):
        limits = Range(low, low * factor, scale)
        for task in sample_tasks({"x": limits}, seed, 20):
            assert limits.low * (1 - 1e-12) <= task["x"] <= limits.high


class TestTables:
    def test_source_and_held_out(self):
        table = draw(parse_ranges(["gravity=5:20", "lanes=2:500:log", "mode=hard"]))
        assert len(table.source) == 6
        assert len(table.held_out) == 4
        assert len({task["gravity"] for task in table.source + table.held_out}) == 10
        assert all(isinstance(task["lanes"], int) for task in table.source)
        assert all(task["mode"] == "hard" for task in table.source)
        assert table.description == "gravity U[5, 20], lanes log-U[2, 500], mode = hard"
        assert table.notes == ()

    def test_names_state_what_varies(self):
        table = draw(parse_ranges(["gravity=5:20", "mode=hard"]))
        assert len(set(table.names)) == 10
        for number, (name, task) in enumerate(
            zip(table.names, table.source + table.held_out, strict=True), 1
        ):
            assert name == f"{number}: gravity={task['gravity']:.3g}"

    def test_seeds(self):
        ranges = parse_ranges(["gravity=5:20"])
        assert draw(ranges) == draw(ranges)
        assert draw(ranges, num_tasks=9).source[:6] == draw(ranges).source
        assert draw(ranges, num_test_tasks=9).held_out[:4] == draw(ranges).held_out
        values = [
            task["gravity"]
            for seed in range(4)
            for task in draw(ranges, seed=seed).source + draw(ranges, seed=seed).held_out
        ]
        assert len(set(values)) == 40

    def test_twins_are_noted(self):
        assert draw(parse_ranges(["wind=true,false"])).notes == (
            "2 of the 6 source tasks are distinct",
        )


class TestFiles:
    def test_ranges(self, tmp_path):
        file = load_task_file(
            write(
                tmp_path,
                'ranges = {"gravity": "5:20", "length": (0.1, 1, "log"), "wind": [True, False]}',
            )
        )
        assert file.ranges == {
            "gravity": Range(5, 20),
            "length": Range(0.1, 1, "log"),
            "wind": Range(0, 0, "choice", (True, False)),
        }
        assert file.tasks is None
        assert draw(file) == draw(file.ranges)

    def test_tasks(self, tmp_path):
        file = load_task_file(
            write(
                tmp_path,
                "def tasks(seed, num_tasks):\n"
                "    return [{'gravity': 100 * seed + i, 'lanes': 2.0, 'mode': None}"
                " for i in range(num_tasks)]\n",
            )
        )
        table = draw(file, seed=3)
        assert [task["gravity"] for task in table.source] == [600 + i for i in range(6)]
        assert [task["gravity"] for task in table.held_out] == [700 + i for i in range(4)]
        assert isinstance(table.source[0]["gravity"], float)
        assert isinstance(table.source[0]["lanes"], int)
        assert table.names[0] == "1: gravity=600"
        assert table.description == "tasks of tasks.py"
        assert draw(file, num_test_tasks=0).held_out == []

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("return [{}] * 2", "returned 2 tasks"),
            ("return [1] * num_tasks", "which is not a dict"),
            ("return [{'gravty': 1}] * num_tasks", 'did you mean "gravity"'),
            ("return [{'total': 1}] * num_tasks", "cannot vary"),
            ("return [{'lanes': 1.5}] * num_tasks", '"lanes" is an integer'),
            ("return 1 / 0", "failed: ZeroDivisionError"),
        ],
    )
    def test_wrong_tasks(self, tmp_path, body, message):
        file = load_task_file(write(tmp_path, f"def tasks(seed, num_tasks):\n    {body}\n"))
        with pytest.raises(ValueError, match=message):
            draw(file)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("x = 1", r"has to define `ranges = .* or `def tasks.*it defines neither"),
            ("ranges = {}\ndef tasks(seed, n): return []", "it defines both"),
            ("tasks = 3", "`tasks` is not a function"),
            ("ranges = 3", "`ranges` is not a dict"),
            ("ranges = {'gravity': '20:5'}", "low 20 is above high 5"),
            ("raise RuntimeError('oh no')", "failed: RuntimeError: oh no"),
            ("def (", "failed: SyntaxError"),
            ("ranges = {'a': (1, 2)}\nmax_episode_steps = 0", "max_episode_steps is 0"),
            ("ranges = {'a': (1, 2)}\nmetric = 'success'", 'metric "success" is not one of'),
        ],
    )
    def test_wrong_files(self, tmp_path, text, message):
        before = set(sys.modules)
        with pytest.raises(ValueError, match=message):
            load_task_file(write(tmp_path, text))
        if "failed" in message:
            assert not {name for name in set(sys.modules) - before if "task_file" in name}

    def test_missing_file(self, tmp_path):
        with pytest.raises(ValueError, match=r'there is no task file ".*absent\.py"'):
            load_task_file(tmp_path / "absent.py")

    def test_settings(self, tmp_path):
        file = load_task_file(
            write(
                tmp_path,
                "ranges = {'a': (1, 2)}\nmax_episode_steps = 30\n"
                "info_names = ('success', 'cost')\nmetric = 'success'\n",
            )
        )
        assert file.max_episode_steps == 30
        assert file.info_names == ("success", "cost")
        assert file.metric == "success"

    def test_neighbours_can_be_imported_and_the_path_is_left_alone(self, tmp_path):
        write(tmp_path, "LOW = 5", "neighbour_of_tasks.py")
        before = list(sys.path)
        file = load_task_file(
            write(
                tmp_path,
                "from __future__ import annotations\n"
                "from dataclasses import dataclass\n"
                "from neighbour_of_tasks import LOW\n"
                "@dataclass\nclass Any: x: int = 0\n"
                "ranges = {'gravity': (LOW, 20)}\n",
            )
        )
        assert file.ranges == {"gravity": Range(5, 20)}
        assert sys.path == before

    def test_a_file_runs_once_until_it_changes(self, tmp_path):
        log = tmp_path / "log"
        text = (
            f"with open({str(log)!r}, 'a') as log: log.write('.')\n"
            "ranges = {'gravity': (1, HIGH)}\n"
        )
        file = write(tmp_path, "HIGH = 2\n" + text)
        assert load_task_file(file).ranges == load_task_file(file).ranges
        assert log.read_text() == "."
        write(tmp_path, "HIGH = 3\n" + text)
        assert load_task_file(file).ranges == {"gravity": Range(1, 3)}
        assert log.read_text() == ".."
