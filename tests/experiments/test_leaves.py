from dataclasses import dataclass

import pytest

from pgx_jax.experiments.leaves import leaf_values, leaves, replace_leaves


@dataclass(frozen=True)
class Inner:
    dim: int = 4
    score: str = "rollout"

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError("dim is too small")


@dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    seed: int = 0


def test_leaves_are_found_and_replaced_by_name():
    assert list(leaves(Outer)) == ["dim", "score", "seed"]
    config = replace_leaves(Outer(), {"dim": 7, "seed": 1})
    assert config == Outer(Inner(7), 1)
    assert leaf_values(config) == {"dim": 7, "score": "rollout", "seed": 1}


def test_an_unknown_leaf_is_refused_and_checks_stay():
    with pytest.raises(ValueError, match='unknown setting "dims"; did you mean "dim"'):
        replace_leaves(Outer(), {"dims": 7})
    with pytest.raises(ValueError, match="dim is too small"):
        replace_leaves(Outer(), {"dim": 0})
    with pytest.raises(ValueError, match='unknown setting "inner"'):
        replace_leaves(Outer(), {"inner": Inner()})
