import numpy as np
import pytest

from pgx_jax.estimation.designs.finite_fields import finite_field, next_prime_power, prime_power


@pytest.mark.parametrize("order", [2, 3, 4, 5, 7, 8, 9, 16, 25, 27])
def test_axioms(order):
    add, mul = finite_field(order)
    every = np.arange(order)
    for table, one in ((add, 0), (mul, 1)):
        np.testing.assert_array_equal(table, table.T)
        np.testing.assert_array_equal(table[one], every)
        np.testing.assert_array_equal(table[table][:, :, every], table[:, table])
    np.testing.assert_array_equal(mul[:, add], add[mul[:, :, None], mul[:, None, :]])
    # Inverses: every row of sums, and of products but the first, holds every element once.
    np.testing.assert_array_equal(np.sort(add, axis=1), np.tile(every, (order, 1)))
    np.testing.assert_array_equal(np.sort(mul[1:], axis=1), np.tile(every, (order - 1, 1)))


def test_prime_powers():
    found = [q for q in range(2, 50) if prime_power(q)]
    assert found == [
        2, 3, 4, 5, 7, 8, 9, 11, 13, 16, 17, 19, 23, 25, 27, 29, 31, 32, 37, 41, 43, 47, 49
    ]  # fmt: skip
    assert prime_power(729) == (3, 6)
    assert [next_prime_power(n) for n in (0, 6, 10, 33)] == [2, 7, 11, 37]


@pytest.mark.parametrize("order", [-1, 0, 1, 6, 12])
def test_no_such_field(order):
    with pytest.raises(ValueError, match=f"order is {order}; a finite field has a power"):
        finite_field(order)
