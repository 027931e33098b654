"""Frames of Meta-World episodes, drawn in a process of their own.

MuJoCo chooses how to draw once a process and may end the process where it cannot. The episode is
stepped here and its actions are repeated there, where headless machines draw by EGL.
"""

import io
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np

from pgx_jax.envs.metaworld.observation import encode
from pgx_jax.envs.metaworld.package import make_environment, set_goal

NUM_STEPS = 150
"""Steps that are drawn of an episode's 500: experts are done by then."""

_SIZE = 240
_DRAW = "from pgx_jax.envs.metaworld.frames import draw; draw()"


def record_episode(
    name: str, seed: int, act: Callable[[np.ndarray], np.ndarray], num_frames: int
) -> np.ndarray:
    """Evenly spaced frames of an episode's first ``NUM_STEPS`` steps.

    Args:
        name: Meta-World's name, such as "reach-v3".
        seed: of the goal.
        act: observation float32[39] -> action float[4] in [-1, 1].
        num_frames: frames to draw.

    Returns:
        uint8[num_frames, 240, 240, 3].

    Raises:
        RuntimeError: this machine cannot draw.
    """
    environment = make_environment(name)
    set_goal(environment, name, seed)
    observation, _ = environment.reset()
    actions = []
    for _ in range(NUM_STEPS):
        actions.append(act(encode(observation)))
        observation, *_ = environment.step(actions[-1])
    environment.close()
    request = io.BytesIO()
    times = np.linspace(0, NUM_STEPS, num_frames).round().astype(int)
    np.savez(request, name=np.array(name), seed=seed, actions=np.array(actions), times=times)
    variables = dict(os.environ)
    if sys.platform == "linux" and "DISPLAY" not in variables:
        variables.setdefault("MUJOCO_GL", "egl")
    done = subprocess.run(
        [sys.executable, "-c", _DRAW],
        input=request.getvalue(),
        capture_output=True,
        env=variables,
        check=False,
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise RuntimeError("MuJoCo cannot draw here: " + " ".join(last))
    return np.load(io.BytesIO(done.stdout), allow_pickle=False)


def draw() -> None:
    """The other process: a request on standard input, frames on standard output."""
    request = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    name, times = str(request["name"]), request["times"].tolist()
    environment = make_environment(name, render_size=_SIZE)
    set_goal(environment, name, int(request["seed"]))
    environment.reset()
    frames = {0: environment.render()}
    for time, action in enumerate(request["actions"], 1):
        environment.step(action)
        if time in times:
            frames[time] = environment.render()
    answer = io.BytesIO()
    # The camera hangs upside down.
    np.save(answer, np.stack([np.asarray(frames[time], np.uint8)[::-1] for time in times]))
    sys.stdout.buffer.write(answer.getvalue())
