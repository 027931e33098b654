"""Ranges: how they are written, and what is drawn from them."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pgx_jax.envs.ranges import Range, as_range, parse_ranges, sample_tasks

WRONG_SCALE: Any = "lin"


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
