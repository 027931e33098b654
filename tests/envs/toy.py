"""Parameters of an environment that there is not, and tasks drawn from them."""

from pgx_jax.envs.parameters import REQUIRED, Parameter, draw_tasks

PARAMETERS = {
    "gravity": Parameter(9.8, float),
    "length": Parameter(0.5, float),
    "lanes": Parameter(4, int),
    "wind": Parameter(False, bool),
    "mode": Parameter("easy"),
    "untyped": Parameter(3),
    "size": Parameter(REQUIRED, int),
    "total": Parameter(1.5, float, "it follows from gravity"),
}


def draw(given, **options):
    options = {"num_tasks": 6, "num_test_tasks": 4, "seed": 0, **options}
    return draw_tasks("toy", given, PARAMETERS, **options)
