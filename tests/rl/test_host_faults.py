"""What goes wrong on the host is one error of every function in ``pgx_jax.rl``."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("gymnasium")

from pgx_jax.envs.host.environment import HostEnvironmentError
from pgx_jax.networks import MLP
from pgx_jax.rl.evaluation import evaluate, evaluate_many
from pgx_jax.rl.policies import make_policy
from pgx_jax.rl.transitions import collect_transitions
from tests.envs.host.environments import host_environment, left_running
from tests.envs.host.probes import tasks, with_fault
from tests.rl.host import NOW, NUM_TASKS, SHARED, TASKS, make_ppo


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    assert not left_running()


def calls(ppo):
    """Each function of ``pgx_jax.rl`` on a PPO whose task 1 fails at its sixth step."""
    agent = ppo.init_agent(jax.random.key(0))
    key, index = jax.random.key(1), jnp.arange(NUM_TASKS)
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), agent.policy)
    options = {"num_episodes": 1, "horizon": 20}
    return {
        "update": lambda: ppo.update(ppo.init(agent, TASKS, SHARED, key), TASKS, SHARED, NOW),
        "evaluate": lambda: evaluate(
            ppo.environment, ppo.policy, agent.policy, TASKS, index, key, **options
        ),
        "evaluate_many": lambda: evaluate_many(
            ppo.environment, ppo.policy, both, TASKS, jnp.stack([index, index]), key, **options
        ),
        "collect_transitions": lambda: collect_transitions(
            ppo, agent, TASKS, key, num_tasks=NUM_TASKS, num_steps=40, envs_per_task=2
        ),
    }


class TestFaults:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "loop"),
        [
            ("evaluate", "auto"),
            ("update", "python"),
            ("collect_transitions", "python"),
            pytest.param("update", "auto", marks=pytest.mark.slow),
            pytest.param("collect_transitions", "auto", marks=pytest.mark.slow),
            pytest.param("evaluate_many", "auto", marks=pytest.mark.slow),
            pytest.param("evaluate_many", "python", marks=pytest.mark.slow),
        ],
    )
    def test_every_function_raises_one_error(self, name, loop, capfd):
        # Long enough that the sixth step is of the first episode.
        ppo = make_ppo(with_fault("raise", count=NUM_TASKS, length=8), loop=loop)
        run = calls(ppo)[name]
        for _ in range(2):  # the same object, again
            with pytest.raises(
                HostEnvironmentError,
                match=r'^environment "Probe" \(sync\), task P2, environment \d, step 6: '
                "ValueError: broken on purpose$",
            ):
                run()
            assert not left_running()
        assert capfd.readouterr().err == ""

    def test_the_start_of_training(self):
        ppo = make_ppo(with_fault("raise in init", count=NUM_TASKS))
        with pytest.raises(HostEnvironmentError, match="task P2, environment 1, reset: ValueError"):
            calls(ppo)["update"]()

    def test_inside_a_program_of_the_users_nothing_is_checked(self):
        """There it cannot be: the values do not exist yet."""
        environment = host_environment(tasks(NUM_TASKS))
        policy = make_policy(environment, MLP((4,)))

        @jax.jit
        def program(params):
            return evaluate(
                environment, policy, params, TASKS, jnp.arange(NUM_TASKS), jax.random.key(0),
                num_episodes=1, horizon=6,
            ).returns  # fmt: skip

        assert np.isfinite(program(policy.init(jax.random.key(0)))).all()
        environment.close()
