"""One Gymnasium environment of a generic family: found by name, made, and brought to one form."""

import difflib
import importlib
import inspect
import pickle
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from pgx_jax.envs.base import ActionSpace
from pgx_jax.envs.host.gymnasium_batch import action_space_of
from pgx_jax.envs.parameters import REQUIRED, Parameter
from pgx_jax.envs.task_files import run_task_file

try:
    import cloudpickle
    import gymnasium
    from gymnasium.envs.registration import EnvSpec, load_env_creator
except ImportError as error:
    raise ImportError(
        'this environment needs gymnasium: pip install "pgx_jax[gymnasium]"'
    ) from error


class PlainEnvironment(gymnasium.Wrapper):
    """Float32 observations, actions in [-1, 1] or from 0, and no ``info`` but what is asked for.

    Tasks whose bounds differ then have equal spaces, as a batch needs; the bounds of an action
    are the task's own.

    Attributes:
        form: observation shape, and actions.
    """

    def __init__(self, env: gymnasium.Env, name: str, info_names: tuple[str, ...] = ()) -> None:
        super().__init__(env)
        seen = env.observation_space
        if not isinstance(seen, gymnasium.spaces.Box):
            raise ValueError(
                f'environment "{name}" has observations {seen}; only Box is supported '
                "(gymnasium.wrappers.FlattenObservation makes one)"
            )
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, seen.shape, np.float32)
        self.form = tuple(seen.shape), action_space_of(env.action_space, name)
        self._info_names, self._missing = info_names, set(info_names)
        given: Any = env.action_space
        self._bounds = None
        if isinstance(given, gymnasium.spaces.Box):
            self._bounds = given.low.astype(np.float64), given.high.astype(np.float64)
            self.action_space = gymnasium.spaces.Box(-1.0, 1.0, given.shape, np.float32)
        else:
            self.action_space = gymnasium.spaces.Discrete(int(given.n))

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode."""
        self._missing = set(self._info_names)
        observation, _ = self.env.reset(**options)
        return np.asarray(observation, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Advance by one step; a value that ``info`` lacks is 0."""
        result = self.env.step(self._native(action))
        observation, reward, terminated, truncated, info = result
        self._missing.difference_update(info)
        if (terminated or truncated) and self._missing:
            raise KeyError(
                f"info had no {' nor '.join(sorted(self._missing))} in a whole episode, where it "
                f"has to be at least once; its last has: {', '.join(map(str, info)) or 'nothing'}"
            )
        chosen = {name: _number(info.get(name, 0.0), name) for name in self._info_names}
        return (
            np.asarray(observation, np.float32),
            _number(reward, "reward"),
            bool(terminated),
            bool(truncated),
            chosen,
        )

    def _native(self, action: Any) -> Any:
        space: Any = self.env.action_space
        if self._bounds is None:
            return int(action) + int(space.start)
        low, high = self._bounds
        unit = np.asarray(action, np.float64).reshape(low.shape)
        scaled = np.clip(low + (unit + 1.0) / 2.0 * (high - low), low, high)
        if np.issubdtype(space.dtype, np.integer):
            scaled = np.rint(scaled)
        return scaled.astype(space.dtype)


class GymnasiumMaker:
    """Makes one environment with a task's keyword arguments; picklable.

    In another process the task file runs first, so that what it registers is known there too.
    """

    def __init__(
        self,
        spec: EnvSpec,
        options: Mapping[str, Any],
        *,
        task_file: str | None = None,
        max_episode_steps: int | None = None,
        info_names: tuple[str, ...] = (),
        form: tuple[tuple[int, ...], ActionSpace] | None = None,
    ) -> None:
        """Describe the environment.

        Args:
            spec: Gymnasium's.
            options: keyword arguments of the task.
            task_file: to be run first.
            max_episode_steps: episode limit; None takes the spec's.
            info_names: values of ``info`` to keep.
            form: observation shape and actions that it has to have.
        """
        self._spec, self._options = spec, dict(options)
        self._task_file, self._limit = task_file, max_episode_steps
        self._info_names, self._form = info_names, form

    def __call__(self) -> PlainEnvironment:
        """A new environment with its time limit.

        Raises:
            ValueError: it cannot be made, or has another form than the family.
        """
        name = self._spec.id
        try:
            environment = gymnasium.make(
                self._spec,
                max_episode_steps=self._limit,
                disable_env_checker=True,
                **self._options,
            )
        except gymnasium.error.DependencyNotInstalled as error:
            raise ImportError(f'environment "{name}": {_first_line(error)}') from error
        except Exception as error:
            raise ValueError(
                f'gymnasium cannot make "{name}" with {self._options}: '
                f"{type(error).__name__}: {_first_line(error)}"
            ) from error
        try:
            plain = PlainEnvironment(environment, name, self._info_names)
            if self._form not in (None, plain.form):
                raise ValueError(
                    f'"{name}" with {self._options} has observations {plain.form[0]} and actions '
                    f"{plain.form[1]}; the first task has {self._form[0]} and {self._form[1]}"
                )
        except Exception:
            environment.close()
            raise
        return plain

    def __getstate__(self) -> dict[str, Any]:
        # The file has to run before what it defines can be read: the spec travels as bytes.
        return {**self.__dict__, "_spec": cloudpickle.dumps(self._spec)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["_task_file"] is not None:
            with warnings.catch_warnings():
                # The other process may have been told of the environment already.
                warnings.filterwarnings("ignore", message=".*already in registry")
                run_task_file(state["_task_file"])
        self.__dict__.update({**state, "_spec": pickle.loads(state["_spec"])})


def find_spec(name: str) -> EnvSpec:
    """Gymnasium's entry for an id, also of the form ``module:Name-v0``.

    Raises:
        ValueError: an unknown id (the nearest one is suggested), or a module that is nowhere.
        ImportError: the module cannot be imported.
    """
    module, _, plain = name.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            if error.name is not None and f"{module}.".startswith(f"{error.name}."):
                raise ValueError(
                    f'environment "{name}": there is no module "{module}"; install it, or run in '
                    "the folder that holds it"
                ) from error
            raise ImportError(
                f'environment "{name}": module "{module}" cannot be imported: {_first_line(error)}'
            ) from error
    try:
        return gymnasium.spec(plain)
    except gymnasium.error.Error as error:
        nearest = difflib.get_close_matches(plain, gymnasium.registry, n=1, cutoff=0.4)
        hint = f'; the nearest id is "{nearest[0]}"' if nearest else ""
        hint += "; for one of your own write gymnasium:MODULE:ID" if not module else ""
        raise ValueError(
            f'unknown environment "{name}": {_first_line(error).rstrip(".")}{hint}'
        ) from error


def gymnasium_parameters(spec: EnvSpec) -> tuple[dict[str, Parameter], bool]:
    """Keyword arguments of an environment with their defaults, and whether it takes any others.

    Raises:
        ValueError: the environment has no constructor that can be loaded.
        ImportError: a package that it needs is missing.
    """
    creator: Any = spec.entry_point
    if creator is None:
        raise ValueError(f'environment "{spec.id}" can only be made as a vector environment')
    try:
        creator = load_env_creator(creator) if isinstance(creator, str) else creator
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise ImportError(f'environment "{spec.id}": {_first_line(error)}') from error
    try:
        signature = inspect.signature(creator).parameters.values()
    except ValueError:
        return {}, True
    known = {}
    for argument in signature:
        if argument.kind in (argument.POSITIONAL_OR_KEYWORD, argument.KEYWORD_ONLY):
            default = spec.kwargs.get(argument.name, argument.default)
            missing = default is argument.empty
            known[argument.name] = Parameter(
                REQUIRED if missing else default, _kind_of(argument.annotation, default)
            )
    known.pop("render_mode", None)
    return known, any(argument.kind is argument.VAR_KEYWORD for argument in signature)


def _kind_of(annotation: Any, default: Any) -> type | None:
    for kind in (bool, int, float):
        if annotation in (kind, kind.__name__):
            return kind
    unknown = annotation is inspect.Parameter.empty
    # An untyped integer may stand for a real number, as in `velocity=0`.
    return type(default) if unknown and isinstance(default, bool | float) else None


def _number(value: Any, what: str) -> float:
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf":
        raise ValueError(f"{what} is {value!r}; it must be one number")
    return float(array.reshape(()))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]
