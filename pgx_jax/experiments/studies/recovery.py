"""Are planted groups found, with k given and with k chosen?"""

from collections.abc import Mapping

from pgx_jax.experiments.studies.base import STUDIES, Row, Study


def _exact(rows: Mapping[str, list[Row]]) -> Row:
    return {
        name: {"exact": sum(row["adjusted_rand_index"] == 1 for row in case), "of": len(case)}
        for name, case in rows.items()
    }


STUDIES.register(
    "recovery",
    Study(
        name="recovery",
        what="adjusted Rand index of the groups found against the planted ones",
        cases={
            "automatic": {"environment": "cartpole-planted"},
            "given": {"environment": "cartpole-planted", "num_groups": 3},
        },
        keep=(
            *("adjusted_rand_index", "num_groups", "labels", "objective", "certified_gap"),
            *("selection", "env_steps", "meta_returns"),
        ),
        summarise=_exact,
        num_seeds=10,
        grouping_only=True,
    ),
)
