"""Frame strips: recorded, placed in the page, or left out with a word."""

import io
from types import SimpleNamespace

import numpy as np
import pytest

from pgx_jax.envs.families import make_family
from pgx_jax.experiments.config import make_config
from pgx_jax.experiments.progress import Progress
from pgx_jax.experiments.render import render_strips
from pgx_jax.experiments.report.strips import strip_figure
from pgx_jax.experiments.slices import learner_slice, run_key
from pgx_jax.experiments.training import algorithm_of, trained_like


@pytest.fixture(scope="module")
def trained():
    """A runner after a run with two groups, as far as rendering looks at it."""
    config = make_config("cartpole", "smoke", num_tasks=4, subset_size=2)
    family = make_family("cartpole", num_tasks=4, num_test_tasks=1)
    algorithm = algorithm_of(learner_slice(config), family)
    agent = algorithm.init_agent(run_key(config))
    groups = {f"group{group}": trained_like(algorithm)._replace(agent=agent) for group in range(2)}
    finished = {
        "train/policygradex": SimpleNamespace(value=groups),
        "grouping": SimpleNamespace(value=SimpleNamespace(labels=np.array([1, 0, 1, 0]))),
    }
    return SimpleNamespace(finished=finished), family, config


def strips_of(trained, render):
    runner, family, config = trained
    text = io.StringIO()
    found = render_strips(runner, family._replace(render=render), config, Progress(stream=text))
    return found, text.getvalue()


def test_one_strip_a_group_in_its_first_task(trained):
    seen = []

    def render(task, act, num_frames):
        seen.append((task, int(act(np.zeros(4, np.float32)))))
        return np.zeros((num_frames, 4, 6, 3), np.uint8)

    strips, _ = strips_of(trained, render)
    assert [strip.group for strip in strips] == [0, 1]
    assert [task for task, _ in seen] == [1, 0]
    assert all(action in (0, 1) for _, action in seen)
    assert [strip.task for strip in strips] == [trained[1].train_names[task] for task in (1, 0)]


def test_without_drawing_there_is_one_line(trained):
    strips, text = strips_of(trained, None)
    assert strips == []
    assert "cannot be drawn" in text

    def render(*_):
        raise RuntimeError("no display")

    strips, text = strips_of(trained, render)
    assert strips == []
    assert "no display" in text


def test_without_policies_by_group_there_is_one_line(trained):
    runner, family, config = trained
    runner = SimpleNamespace(finished={"grouping": runner.finished["grouping"]})
    text = io.StringIO()
    drawn = family._replace(render=lambda *_: np.zeros((8, 4, 6, 3), np.uint8))
    assert render_strips(runner, drawn, config, Progress(stream=text)) == []
    assert "policygradex has to be compared" in text.getvalue()


@pytest.mark.parametrize(
    ("height", "width", "columns"), [(400, 400, 4), (150, 600, 2), (400, 50, 8), (20, 2000, 1)]
)
def test_wide_frames_stand_below_one_another(height, width, columns):
    frames = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones((height, width, 3), "u1")
    image = np.asarray(strip_figure(frames).axes[0].images[0].get_array())
    row = image[1, :, 0]
    assert len(np.unique(row[row < 8])) == columns
    assert image.shape[1] <= 2000
    assert set(np.unique(image)) == {*range(8), 255}
