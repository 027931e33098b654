"""Families by name, from here and from outside, and their presets."""

import io
import subprocess
import sys

import pytest

from pgx_jax.envs.families import (
    FAMILIES,
    GENERIC,
    FamilyEntry,
    check_family,
    find_family,
    make_family,
    presets_of,
    unknown_name,
)
from pgx_jax.envs.presets import GENERIC as GENERIC_PRESETS


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


def slopes(num_tasks, num_test_tasks, seed):
    """Slopes of varied steepness.

    From outside the package.
    """
    from pgx_jax.envs.cartpole import cartpole

    return cartpole(num_tasks, num_test_tasks, seed)._replace(name="slopes")


ENTRY = FamilyEntry(maker=slopes, summary="slopes of varied steepness")
HERE = __name__


@pytest.fixture
def registry(monkeypatch):
    """What is registered in a test is gone after it."""
    monkeypatch.setattr(FAMILIES, "_entries", dict(FAMILIES))
    return FAMILIES


class TestFromOutside:
    @pytest.mark.parametrize("entry", [ENTRY, FamilyEntry(HERE, "slopes")])
    def test_registered(self, registry, entry):
        registry.register("slopes", entry)
        family = make_family("slopes", num_tasks=3, num_test_tasks=2, seed=1)
        assert (family.name, family.num_tasks) == ("slopes", 3)
        check_family("slopes")
        with pytest.raises(ValueError, match="has no backend to choose"):
            check_family("slopes", backend="envpool")
        with pytest.raises(ValueError, match='did you mean "slopes"'):
            make_family("slope")

    def test_without_presets_there_are_the_generic_ones(self, registry):
        registry.register("slopes", ENTRY)
        presets = presets_of("slopes")
        assert list(presets) == ["smoke", "default", "paper"]
        assert presets == presets_of("gymnax:CartPole-v1")
        assert presets["paper"] == {**GENERIC_PRESETS["default"], "num_steps": 2048}

    def test_with_presets_of_its_own(self, registry):
        own = {"default": {"meta_steps": 7}, "long": {"meta_steps": 70}}
        registry.register("slopes", FamilyEntry(maker=slopes, presets=own))
        presets = presets_of("slopes")
        assert presets["smoke"] == GENERIC_PRESETS["smoke"]
        assert presets["default"] == own["default"]
        assert presets["long"] == own["long"]
        assert presets["paper"] == {"meta_steps": 7, "num_steps": 2048}

    def test_listed(self, registry):
        from rich.console import Console

        from pgx_jax.experiments.listing import details, overview

        def text(listing):
            console = Console(width=108, file=io.StringIO())
            console.print(listing)
            return console.file.getvalue()

        registry.register("slopes", ENTRY)
        assert "slopes of varied steepness" in text(overview())
        assert "slopes: slopes of varied steepness" in text(details("slopes"))
        assert "--meta-steps" in text(details("slopes"))

    @pytest.mark.parametrize("name", [f"{HERE}:ENTRY", f"{HERE}:slopes"])
    def test_by_module_and_name(self, name):
        assert find_family(name)[0].find_maker() is slopes
        assert find_family(name)[0].summary.lower().startswith("slopes of varied steepness")
        assert make_family(name, num_tasks=3, num_test_tasks=2).name == "slopes"
        assert "smoke" in presets_of(name)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (f"{HERE}:nothing", "is not there: module .* has no attribute 'nothing'"),
            ("no_such_module:entry", "is not there: No module named 'no_such_module'"),
            (f"{HERE}:HERE", "is neither a FamilyEntry nor a function"),
            ("gymnasum:CartPole-v1", 'unknown environment "gymnasum:CartPole-v1"'),
        ],
    )
    def test_what_is_not_there(self, name, message):
        with pytest.raises(ValueError, match=message):
            find_family(name)


class TestPresets:
    def test_are_read_without_the_packages_of_the_environment(self):
        code = (
            "import sys; from pgx_jax.envs.families import FAMILIES, presets_of\n"
            "for name in [*FAMILIES, 'gymnax:A', 'gymnasium:A']: presets_of(name)\n"
            "heavy = {'jax', 'flax', 'mujoco', 'metaworld', 'brax', 'gymnasium', 'gymnax'}\n"
            "print(sorted(heavy & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "[]"

    def test_ppo_is_a_plain_mapping(self):
        for name in FAMILIES:
            for settings in presets_of(name).values():
                assert isinstance(settings.get("ppo", {}), dict)

    def test_a_copy_is_handed_out(self):
        presets_of("highway")["default"]["ppo"]["discount"] = 0.5
        assert presets_of("highway")["default"]["ppo"]["discount"] == 0.92
