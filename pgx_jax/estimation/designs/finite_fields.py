"""Finite fields GF(q) as tables, the arithmetic that planes and transversal designs are made of."""

from functools import cache
from typing import NamedTuple

import numpy as np


class FiniteField(NamedTuple):
    """Tables of a field whose elements are called 0..q-1, 0 and 1 being its zero and one.

    Attributes:
        add: int64[q, q], sums.
        mul: int64[q, q], products.
    """

    add: np.ndarray
    mul: np.ndarray


def prime_power(order: int) -> tuple[int, int] | None:
    """Writes a number as a power of a prime.

    Args:
        order: q ≥ 2.

    Returns:
        (p, e) with q = pᵉ, or None where q is no power of a prime.
    """
    prime = next((p for p in range(2, int(order**0.5) + 1) if order % p == 0), order)
    exponent = 0
    while order % prime == 0:
        order //= prime
        exponent += 1
    return (prime, exponent) if order == 1 else None


def next_prime_power(least: int) -> int:
    """Returns the smallest prime power q ≥ ``least``, at least 2."""
    order = max(least, 2)
    while prime_power(order) is None:
        order += 1
    return order


@cache
def finite_field(order: int) -> FiniteField:
    """Makes the tables of GF(q).

    Elements of GF(pᵉ) are polynomials over the integers modulo p, written in base p.

    Args:
        order: q, a prime power.

    Returns:
        Tables of sums and products.

    Raises:
        ValueError: q is no prime power.
    """
    parts = prime_power(order) if order >= 2 else None
    if parts is None:
        raise ValueError(f"order is {order}; a finite field has a power of a prime of elements")
    prime, exponent = parts
    elements = np.arange(order)
    if exponent == 1:
        return FiniteField(
            (elements[:, None] + elements) % prime, (elements[:, None] * elements) % prime
        )
    place = prime ** np.arange(exponent)
    digits = elements[:, None] // place % prime
    add = ((digits[:, None] + digits) % prime) @ place
    powers = _powers_of_a_generator(prime, exponent)
    logarithm = np.zeros(order, dtype=np.int64)
    logarithm[powers] = np.arange(order - 1)
    mul = powers[(logarithm[:, None] + logarithm) % (order - 1)]
    mul[0] = mul[:, 0] = 0
    return FiniteField(add, mul)


def _powers_of_a_generator(prime: int, exponent: int) -> np.ndarray:
    """Powers 1, x, x², ... of x modulo the first primitive polynomial; int64[q-1]."""
    order = prime**exponent
    top = order // prime
    for tail in range(1, order):
        # x^e = -(tail), digit by digit.
        wrap = [-(tail // prime**place) % prime for place in range(exponent)]
        powers = [1]
        while len(powers) < order:
            leading, rest = divmod(powers[-1], top)
            shifted = rest * prime
            value = sum(
                (shifted // prime**place + leading * wrap[place]) % prime * prime**place
                for place in range(exponent)
            )
            if value in (0, 1):
                break
            powers.append(value)
        if len(powers) == order - 1:
            return np.array(powers)
    raise AssertionError("every finite field has a primitive polynomial")
