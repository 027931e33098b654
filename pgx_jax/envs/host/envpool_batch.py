"""EnvPool's C++ environments as a batch on the host: one pool per distinct task."""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pgx_jax.envs.host.calls import HostStep
from pgx_jax.envs.host.processes import available_cores

try:
    import envpool
except ImportError as error:
    raise ImportError('this environment needs EnvPool: pip install "pgx_jax[envpool]"') from error


class EnvPoolBatch:
    """B EnvPool environments; those with the same task share a pool.

    Seeds are fixed when a pool is made, so every reset makes the pools anew. The step after an
    episode's last only resets (EnvPool's own way); it is marked invalid.
    """

    def __init__(
        self,
        tasks: np.ndarray,
        configs: Sequence[tuple[str, dict[str, Any]]],
        *,
        info_names: tuple[str, ...] = (),
        terminal: Callable[[dict[str, Any], np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """Describe the batch; pools are made by ``reset``.

        Args:
            tasks: int[B], row of ``configs`` of each environment.
            configs: EnvPool name and options of every task.
            info_names: values of ``info`` to carry.
            terminal: ``(info, terminated)`` -> which episodes ended in a terminal state, where
                the pool does not tell this apart itself.
        """
        self._rows = [np.flatnonzero(tasks == task) for task in np.unique(tasks)]
        self._configs = [configs[task] for task in np.unique(tasks)]
        self._info_names = info_names
        self._terminal = terminal
        self._pools: list[Any] = []
        self._natives: list[_Actions] = []
        self._dead = np.zeros(len(tasks), bool)

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        """Make the pools from int64[B] seeds and start all episodes."""
        self.close()
        # Cores are shared among the pools; how many threads a pool has changes no result.
        threads = max(1, available_cores() // len(self._rows))
        for rows, (name, options) in zip(self._rows, self._configs, strict=True):
            self._pools.append(
                envpool.make_gymnasium(
                    name,
                    num_envs=len(rows),
                    seed=[int(seed) for seed in seeds[rows]],
                    num_threads=threads,
                    **options,
                )
            )
        self._natives = [_Actions(pool.action_space) for pool in self._pools]
        for pool in self._pools:
            pool.async_reset()
        self._dead[:] = False
        return self._gather()[0]

    def step(self, action: np.ndarray) -> HostStep:
        """Advance all pools at once."""
        if not self._pools:
            raise RuntimeError("the environments are closed")
        for rows, pool, native in zip(self._rows, self._pools, self._natives, strict=True):
            pool.send(native(action[rows]))
        observation, reward, terminated, truncated, info = self._gather()
        valid = ~self._dead
        self._dead = terminated | truncated
        return HostStep(
            observation, np.where(valid, reward, 0.0), terminated, truncated, None, valid, info
        )

    def close(self) -> None:
        """Free the pools with their threads."""
        if not self._pools:
            return
        for pool in self._pools:
            pool.close()
        self._pools.clear()
        _return_memory()

    def where(self) -> int | None:
        """Unknown: pools run in threads of their own."""
        return None

    def _gather(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        count = len(self._dead)
        observation: np.ndarray | None = None
        reward = np.zeros(count, np.float32)
        terminated, truncated = np.zeros(count, bool), np.zeros(count, bool)
        info = {name: np.zeros(count, np.float32) for name in self._info_names}
        for rows, pool in zip(self._rows, self._pools, strict=True):
            result = pool.recv()
            values = result[-1]
            # Environments come back in the order in which they finished.
            back = rows[values["env_id"]]
            if observation is None:
                observation = np.zeros((count, *result[0].shape[1:]), np.float32)
            observation[back] = result[0]
            if len(result) > 2:
                reward[back], terminated[back], truncated[back] = result[1:4]
                if self._terminal is not None:
                    terminated[back] = self._terminal(values, result[2])
            for name in self._info_names:
                info[name][back] = values[name]
        assert observation is not None
        return observation, reward, terminated, truncated, info


class _Actions:
    """Actions as a pool takes them: [-1, 1] scaled to the range, if there is another one."""

    def __init__(self, space: Any) -> None:
        self._dtype, self._range = space.dtype, None
        if hasattr(space, "low") and (np.any(space.low != -1) or np.any(space.high != 1)):
            self._range = np.asarray(space.low, float), np.asarray(space.high, float)

    def __call__(self, action: np.ndarray) -> np.ndarray:
        if self._range is not None:
            low, high = self._range
            unit = (action.reshape(len(action), *low.shape) + 1.0) / 2.0
            action = np.clip(low + unit * (high - low), low, high)
        return action.astype(self._dtype)


def _return_memory() -> None:
    """Give freed memory back to the system, where its C library can.

    glibc keeps what the pools' many threads freed: every reset of 40 Meta-World simulators would
    leave up to 100 MB more.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
