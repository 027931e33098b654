"""What `import pgx_jax` brings along, and what it offers."""

import subprocess
import sys

import pgx_jax

CONTRACT = (
    "Transitions",
    "gaussian_projection",
    "tensor_sketch",
    "gradient_features",
    "random_subsets",
    "balanced_subsets",
    "fit_subsets",
    "score_subsets",
    "task_affinity",
    "cluster_tasks",
    "group_tasks",
    "SubsetFits",
    "Grouping",
)
HEAVY = ("gymnax", "brax", "cvxpy", "gymnasium", "matplotlib", "flax", "optax", "scipy.stats")


def test_import_brings_no_heavy_package():
    # JAX itself loads scipy.linalg; what counts is what comes on top of it.
    code = (
        "import sys, jax; before = set(sys.modules); import pgx_jax; "
        f"print([m for m in {HEAVY!r} if m in sys.modules and m not in before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_import_works_without_the_extras():
    blocked = ("gymnax", "flax", "optax", "tyro", "rich", "matplotlib", "gymnasium", "jaxopt")
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({blocked!r}))\n"
        "import pgx_jax\n"
        "print(pgx_jax.cluster_tasks([[0, 1, 0], [1, 0, 0], [0, 0, 0]], 2).labels.tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[0, 0, 1]"


def test_the_public_contract_is_there():
    for name in CONTRACT:
        assert name in pgx_jax.__all__
        assert getattr(pgx_jax, name).__doc__
