"""A network from outside the package: its configuration, its module, one line of registration."""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
import pytest

from pgx_jax.networks import NETWORKS
from tests.extension.tiny import tiny_run


class GatedModule(nn.Module):
    num_outputs: int
    final_scale: float
    width: int

    @nn.compact
    def __call__(self, inputs, task=None):
        seen = inputs if task is None else jnp.concatenate([inputs, task], axis=-1)
        gate = nn.sigmoid(nn.Dense(self.width)(seen))
        hidden = gate * nn.tanh(nn.Dense(self.width)(seen))
        last = nn.initializers.orthogonal(self.final_scale)
        return nn.Dense(self.num_outputs, kernel_init=last)(hidden)


@dataclass(frozen=True)
class Gated:
    width: int = 8

    def module(self, num_outputs, final_scale=1.0):
        return GatedModule(num_outputs, final_scale, self.width)

    def widened(self, factor):
        return Gated(max(1, round(self.width * factor)))


@pytest.fixture(scope="module", autouse=True)
def registered():
    NETWORKS.register("gated", Gated())


@pytest.mark.slow
def test_a_run_uses_it_by_name(tmp_path):
    methods = ("policygradex", "parameter_matched_policy")
    report = tiny_run(tmp_path, network="gated", methods=methods)
    assert report["config"]["network"] == "gated"
    # 4 observations, 2 actions: two layers of 8 and the last one, per group.
    one = 2 * (4 * 8 + 8) + 8 * 2 + 2
    assert report["num_params"]["policygradex"] == report["num_groups"] * one
    assert report["num_params"]["parameter_matched_policy"] == pytest.approx(2 * one, rel=0.15)


@pytest.mark.slow
def test_it_is_told_its_task(tmp_path):
    report = tiny_run(tmp_path, network="gated", identity="one_hot")
    one = 2 * ((4 + 4) * 8 + 8) + 8 * 2 + 2
    assert report["num_params"]["policygradex"] == report["num_groups"] * one
