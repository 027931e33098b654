"""Plain loops that the compiled code is held against."""

import numpy as np


def advantages_by_loop(reward, value, next_value, terminated, done, discount, gae_lambda):
    """Generalised advantages of float[T, B], each from its own sum over the rest of its episode."""
    steps, envs = reward.shape
    result = np.zeros((steps, envs))
    for env in range(envs):
        for start in range(steps):
            weight, total = 1.0, 0.0
            for t in range(start, steps):
                future = 0.0 if terminated[t, env] else float(next_value[t, env])
                error = float(reward[t, env]) + discount * future - float(value[t, env])
                total += weight * error
                weight *= discount * gae_lambda
                if done[t, env]:
                    break
            result[start, env] = total
    return result


def cartpole_step(state, action, task):
    """Barto, Sutton and Anderson's cart and pole, one Euler step in float64."""
    x, x_dot, theta, theta_dot = np.asarray(state, np.float64)
    gravity, masscart, masspole, length, force_mag = task
    force = force_mag if action == 1 else -force_mag
    mass = masscart + masspole
    push = (force + masspole * length * theta_dot**2 * np.sin(theta)) / mass
    turn = (gravity * np.sin(theta) - np.cos(theta) * push) / (
        length * (4 / 3 - masspole * np.cos(theta) ** 2 / mass)
    )
    x_acceleration = push - masspole * length * turn * np.cos(theta) / mass
    after = np.array([x, x_dot, theta, theta_dot])
    after += 0.02 * np.array([x_dot, x_acceleration, theta_dot, turn])
    terminated = abs(after[0]) > 2.4 or abs(after[2]) > 12 * 2 * np.pi / 360
    return after, terminated


def cartpole_physics(tasks, index):
    """What ``cartpole_step`` needs of one task."""
    names = ("gravity", "masscart", "masspole", "length", "force_mag")
    return tuple(float(getattr(tasks, name)[index]) for name in names)
