"""Ranges fitted to an environment, and tables of tasks."""

import pytest

from pgx_jax.envs.parameters import (
    Range,
    fit_ranges,
    parse_ranges,
)
from tests.envs.toy import PARAMETERS, draw


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
