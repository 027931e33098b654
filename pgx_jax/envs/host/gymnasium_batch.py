"""Gymnasium environments as a batch on the host: its vector environments, here or in processes."""

import pickle
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from pgx_jax.envs.base import ActionSpace, Box, Discrete
from pgx_jax.envs.host.calls import EnvironmentFault, HostBatch, HostStep
from pgx_jax.envs.host.processes import Context, ProcessBatch, available_cores

try:
    import cloudpickle
    import gymnasium
    from gymnasium.vector import AutoresetMode, SyncVectorEnv
except ImportError as error:
    raise ImportError(
        'this environment needs gymnasium: pip install "pgx_jax[gymnasium]"'
    ) from error

Vectorization = Literal["sync", "async"]


class GymnasiumBatch:
    """B Gymnasium environments, one a task, in Gymnasium's vector environments.

    "sync" steps them in turn in this process. "async" shares them among processes, each with a
    vector environment of its own, and can stop one that hangs. Gymnasium's own AsyncVectorEnv
    would take a process an environment.
    """

    def __init__(
        self,
        makers: Sequence[Callable[[], gymnasium.Env]],
        task_names: Sequence[str],
        *,
        vectorization: Vectorization = "sync",
        context: Context = "forkserver",
        same_step: bool = True,
        info_names: tuple[str, ...] = (),
        num_processes: int | None = None,
    ) -> None:
        """Make the environments.

        Args:
            makers: one function an environment; for "async" one that cloudpickle can send.
            task_names: one an environment.
            vectorization: "sync" or "async".
            context: how processes start.
            same_step: reset within an episode's last step; else in the step after it.
            info_names: values of ``info`` to carry; every step has to report them.
            num_processes: for "async"; None takes one a core, and no more than environments.

        Raises:
            EnvironmentFault: an environment could not be made.
            ValueError: spaces that are not supported, or no environment.
        """
        if len(makers) != len(task_names) or not makers:
            raise ValueError(f"{len(makers)} environments for {len(task_names)} task names")
        self._batch: HostBatch
        if vectorization == "sync":
            progress = SimpleNamespace(value=-1)
            self._batch = _VectorBatch(list(makers), progress, same_step, info_names)
            return
        wanted = min(len(makers), num_processes or available_cores())
        shares = np.array_split(np.arange(len(makers)), wanted)
        registered = _registered()
        self._batch = ProcessBatch(
            [
                _Share([makers[row] for row in share], same_step, info_names, registered)
                for share in shares
            ],
            [len(share) for share in shares],
            context=context,
        )

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        """Start all episodes."""
        return self._batch.reset(seeds)

    def step(self, action: np.ndarray) -> HostStep:
        """Advance all environments; ``action`` is int[B] from 0, or float[B, size] in [-1, 1]."""
        return self._batch.step(action)

    def close(self) -> None:
        """Close the environments; processes that are at work are stopped."""
        self._batch.close()

    def where(self) -> int | None:
        """Index of the environment that is at work."""
        return self._batch.where()


class _VectorBatch:
    """One of Gymnasium's vector environments behind the protocol of the host."""

    def __init__(
        self,
        makers: Sequence[Callable[[], gymnasium.Env]],
        progress: Any,
        same_step: bool,
        info_names: tuple[str, ...],
    ) -> None:
        self._progress, self._same_step, self._info_names = progress, same_step, info_names
        self._dead = np.zeros(len(makers), bool)
        # Made one by one: what the first ones hold is freed where a later one fails.
        environments: list[Any] = []
        try:
            for row, maker in enumerate(makers):
                progress.value = row
                environments.append(_Monitor(maker(), progress, row))
                space, first = environments[-1].action_space, environments[0].action_space
                action_space_of(space, str(row))
                if space != first:
                    raise ValueError(f"actions {space}; environment 0 has {first}")
                progress.value = -1
            mode = AutoresetMode.SAME_STEP if same_step else AutoresetMode.NEXT_STEP
            # "different": tasks may differ in the bounds of what is observed, not in its shape.
            self.env = SyncVectorEnv(
                [(lambda one=one: one) for one in environments],
                copy=False,
                observation_mode="different",
                autoreset_mode=mode,
            )
            self._space: Any = self.env.single_action_space
        except BaseException as error:
            for one in environments:
                with suppress(Exception):
                    one.close()
            if progress.value >= 0 and isinstance(error, Exception):
                what = f"{type(error).__name__}: {error}"
                raise EnvironmentFault(progress.value, what) from error
            raise
        shape = self.env.single_observation_space.shape
        self.signature = f"observations {shape}, actions {self._space}"

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            observation, _ = self.env.reset(seed=[int(seed) for seed in seeds])
        self._dead[:] = False
        return np.array(observation)

    def step(self, action: np.ndarray) -> HostStep:
        # What is too large for the declared type becomes infinite; that is found by who calls.
        with np.errstate(over="ignore"):
            observation, reward, terminated, truncated, info = self.env.step(self._native(action))
        observation = np.array(observation)
        done = terminated | truncated
        if self._same_step:
            final = None
            if done.any():
                final = observation.copy()
                for row in np.flatnonzero(done):
                    final[row] = info["final_obs"][row]
            return HostStep(
                observation, reward, terminated, truncated, final, None, self._info(info, done)
            )
        valid, self._dead = ~self._dead, done
        return HostStep(
            observation,
            reward,
            terminated,
            truncated,
            None,
            valid,
            self._info(info, np.zeros_like(done), valid),
        )

    def close(self) -> None:
        self.env.close()

    def where(self) -> int | None:
        return self._progress.value if self._progress.value >= 0 else None

    def _native(self, action: np.ndarray) -> np.ndarray:
        if isinstance(self._space, gymnasium.spaces.Discrete):
            return action + self._space.start
        low, high = self._space.low.astype(np.float64), self._space.high.astype(np.float64)
        scaled = low + (action.reshape(-1, *low.shape) + 1.0) / 2.0 * (high - low)
        return np.clip(scaled, low, high).astype(self._space.dtype)

    def _info(
        self, info: dict[str, Any], done: np.ndarray, valid: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Values of the steps taken, also where the environment has been reset since."""
        chosen = {}
        for name in self._info_names:
            values = np.zeros(len(done), np.float32)
            missing = np.ones(len(done), bool) if valid is None else valid.copy()
            for given, rows in ((info, ~done), (info.get("final_info", {}), done)):
                use = given.get(f"_{name}", False) & rows & missing
                if use.any():
                    values[use] = np.asarray(given[name][use], np.float32)
                    missing &= ~use
            if missing.any():
                raise EnvironmentFault(int(np.argmax(missing)), f'info has no "{name}"')
            chosen[name] = values
        return chosen


class _Monitor(gymnasium.Wrapper):
    """Says which environment is at work, and looks at what it returns."""

    def __init__(self, env: gymnasium.Env, progress: Any, row: int) -> None:
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, gymnasium.spaces.Box):
            raise ValueError(
                f"observations {space}; only Box is supported "
                "(gymnasium.wrappers.FlattenObservation makes one)"
            )
        self._shape = space.shape
        self._progress, self._row = progress, row

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        self._progress.value = self._row
        observation, info = self.env.reset(**options)
        self._check(observation)
        self._progress.value = -1
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._progress.value = self._row
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._check(observation)
        if terminated or truncated:
            # The reset that follows may write to the same memory.
            observation = np.array(observation)
        amount = np.asarray(reward)
        if amount.size != 1:
            raise ValueError(f"reward has shape {amount.shape}; it must be one number")
        self._progress.value = -1
        return observation, float(amount.reshape(())), bool(terminated), bool(truncated), info

    def _check(self, observation: Any) -> None:
        if np.shape(observation) != self._shape:
            raise ValueError(
                f"observation has shape {np.shape(observation)}; {self._shape} was declared"
            )


class _Share:
    """Makes the batch of one process."""

    def __init__(
        self,
        makers: Sequence[Callable[[], gymnasium.Env]],
        same_step: bool,
        info_names: tuple[str, ...],
        registered: list[bytes],
    ) -> None:
        self._registered = registered
        # Read after the registrations: reading a maker may already ask for its environment.
        self._makers = cloudpickle.dumps(list(makers))
        self._same_step, self._info_names = same_step, info_names

    def __call__(self, progress: Any) -> _VectorBatch:
        for entry in self._registered:
            with suppress(Exception):  # of a package that is not needed here
                spec = pickle.loads(entry)
                gymnasium.registry.setdefault(spec.id, spec)
        makers = pickle.loads(self._makers)
        return _VectorBatch(makers, progress, self._same_step, self._info_names)


def action_space_of(space: Any, name: str) -> ActionSpace:
    """Gymnasium's action space as ours.

    Raises:
        ValueError: neither discrete nor a bounded box.
    """
    if isinstance(space, gymnasium.spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, gymnasium.spaces.Box) and space.is_bounded():
        return Box(int(np.prod(space.shape)))
    raise ValueError(
        f'environment "{name}" has actions {space}; only Discrete and bounded Box are supported'
    )


def vectorization_of(backend: str) -> Vectorization:
    """How a Gymnasium backend steps its environments.

    Raises:
        ValueError: an unknown backend.
    """
    known: dict[str, Vectorization] = {"gymnasium": "sync", "gymnasium-async": "async"}
    if backend not in known:
        raise ValueError(f'unknown backend "{backend}"; known: {", ".join(known)}')
    return known[backend]


def _registered() -> list[bytes]:
    """What is registered beyond Gymnasium's own, for processes that do not run the main module."""
    entries = []
    for spec in gymnasium.registry.values():
        if not str(spec.entry_point).startswith("gymnasium."):
            with suppress(Exception):  # cannot be sent; then makers must not need it
                entries.append(cloudpickle.dumps(spec))
    return entries
