"""A network as large as several others together."""

from collections.abc import Callable
from functools import cache
from typing import TypeVar

import jax

from pgx_jax.networks.base import Network, count_parameters
from pgx_jax.networks.heads import Policy

AnyNetwork = TypeVar("AnyNetwork", bound=Network)

# The factor is found to within k / 2^40, finer than any rounded width can tell.
_HALVINGS = 40


def matched_network(
    make_policy: Callable[[AnyNetwork], Policy], network: AnyNetwork, num_policies: int
) -> AnyNetwork:
    """The network of one policy that has as many parameters as ``num_policies`` of the given one.

    Widths keep their proportions, and the count is the nearest that whole widths allow; of two
    equally near ones the smaller. Found by bisection over the factor of ``widened``.

    Args:
        make_policy: the policy over a network; only its parameters are counted, none are made.
        network: of each of the policies.
        num_policies: k, at least 1.

    Returns:
        ``network.widened(factor)`` for a factor between 1 and k.
    """

    @cache
    def count(candidate: AnyNetwork) -> int:
        return count_parameters(jax.eval_shape(make_policy(candidate).init, jax.random.key(0)))

    wanted = num_policies * count(network)
    low, high = 1.0, float(num_policies)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if count(network.widened(middle)) < wanted else (low, middle)
    nearest = [network.widened(factor) for factor in (low, high)]
    return min(nearest, key=lambda candidate: abs(count(candidate) - wanted))
