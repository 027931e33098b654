"""Families by name."""

import pytest

from pgx_jax.envs.families import (
    FAMILIES,
    GENERIC,
    check_family,
    find_family,
    make_family,
    unknown_name,
)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r'unknown environment "cartpol"; did .* "cartpole"\?'):
        make_family("cartpol")


def test_unknown_name_lists_what_is_known():
    message = unknown_name("environment", "zzzz", FAMILIES)
    assert "did you mean" not in message
    assert all(name in message for name in FAMILIES)


def test_entries_are_complete():
    for entry in [*FAMILIES.values(), *GENERIC.values()]:
        assert entry.summary
        assert entry.extra


def test_a_prefix_stands_for_any_environment_of_a_library():
    entry, name = find_family("gymnasium:package:Thing-v0")
    assert entry is GENERIC["gymnasium:"]
    assert name == "package:Thing-v0"
    with pytest.raises(ValueError, match='unknown environment "gymnax:"'):
        find_family("gymnax:")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cartpole", {"backend": "envpool"}, "runs in JAX and has no backend"),
        ("highway", {"backend": "envpol"}, 'did you mean "envpool"'),
        ("cartpole", {"ranges": ("gravity=5:20",)}, "has its published tasks"),
        ("lunarlander", {"task_file": "tasks.py"}, "has its published tasks"),
        (
            "gymnax:CartPole-v1",
            {"ranges": ("gravity=5:20",), "task_file": "tasks.py"},
            "give one of them",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        check_family(name, **options)
