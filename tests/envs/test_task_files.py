"""Task files: what they may say, and what is said of those that are wrong."""

import sys

import pytest

from pgx_jax.envs.parameters import Range, load_task_file
from tests.envs.toy import draw
from tests.envs.walks import write


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
