"""Reports as ``make_report`` shapes them, and what a test asks of a page."""

import base64
import re
from html.parser import HTMLParser

import numpy as np

METHODS = {
    "policygradex": "PolicyGradEx groups",
    "single_policy": "One policy for all tasks",
    "parameter_matched_policy": "One policy, k times the parameters",
    "random_grouping": "Random groups",
    "gradient_similarity_grouping": "Gradient-similarity groups",
}


REACHED = {"policygradex": 330, "random_grouping": 190, "gradient_similarity_grouping": 240}


STEPS_PER_UPDATE = 1280


def fake_run(
    num_tasks=10,
    num_groups=3,
    *,
    compared=True,
    known=True,
    automatic=True,
    num_test_tasks=50,
    preset="default",
    names=None,
    updates=60,
    reused=("meta", "transitions"),
    seed=0,
):
    """A report and its rows, shaped as ``make_report`` and ``learning_curves`` shape them."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(num_tasks) % num_groups)
    first = list(dict.fromkeys(labels.tolist()))
    labels = np.array([first.index(label) for label in labels])
    if names is None:
        names = [
            f"g={5 + 15 * u:.1f} l={0.15 + v:.2f} F={2 + 30 * w:.1f}"
            for u, v, w in rng.random((num_tasks, 3))
        ]
    noise = rng.normal(size=(num_tasks, num_tasks)) * 0.12
    affinity = 0.5 * (labels[:, None] == labels) - 0.2 + (noise + noise.T) / 2
    method_labels = {
        "policygradex": labels.tolist(),
        "single_policy": [0] * num_tasks,
        "parameter_matched_policy": [0] * num_tasks,
        "random_grouping": rng.permutation(np.arange(num_tasks) % num_groups).tolist(),
        "gradient_similarity_grouping": np.sort(np.arange(num_tasks) % num_groups).tolist(),
    }
    meta_steps = 2 * updates * STEPS_PER_UPDATE
    spent = {"meta": meta_steps, "transitions": num_tasks * 8192, "scores": 150_000}
    rows = fake_rows("meta", names, [0] * num_tasks, [2 * updates], 20, 170, rng)
    reached, env_steps, num_params = {}, {}, {}
    for method, groups in method_labels.items() if compared else ():
        paid = {} if method == "parameter_matched_policy" else {"meta": meta_steps}
        if method in ("policygradex", "gradient_similarity_grouping"):
            paid["transitions"] = spent["transitions"]
        if method == "policygradex":
            paid["scores"] = spent["scores"]
        left = (sum(spent.values()) - sum(paid.values())) // STEPS_PER_UPDATE + 4 * updates
        counts = [max(1, round(left * share)) for share in np.bincount(groups) / num_tasks]
        start = 20 if method == "parameter_matched_policy" else 160
        end = REACHED.get(method, 205)
        rows += fake_rows(f"train/{method}", names, groups, counts, start, end, rng)
        paid["training"] = sum(counts) * STEPS_PER_UPDATE
        env_steps[method] = {**paid, "total": sum(paid.values())}
        reached[method] = fake_scores(names, num_test_tasks, end, rng)
        policies = num_groups if method == "parameter_matched_policy" else len(counts)
        num_params[method] = policies * 8898
    stages = ["meta", "transitions", "features", "subsets", "fits", "scores", "affinity"]
    stages += ["grouping", *(f"{kind}/{one}" for one in reached for kind in ("train", "evaluate"))]
    candidates = range(1, max(min(6, num_tasks - 1), num_groups) + 1)
    report = {
        "environment": "cartpole-planted",
        "environment_description": "gymnax CartPole-v1 in three groups: normal, actuator "
        "inverted, long and heavy",
        "notes": ["backend of the probe"],
        "metric": "return",
        "warm_start": "none",
        "demonstrations": None,
        "preset": preset,
        "seed": seed,
        "versions": {"python": "3.13.1", "pgx_jax": "0.1.0", "jax": "0.7.2", "numpy": "2.3.1"},
        "device": "TFRT_CPU_0",
        "num_tasks": num_tasks,
        "num_subsets": 200,
        "subset_size": min(4, num_tasks),
        "dim": 400,
        "num_groups": num_groups,
        "num_groups_given": not automatic,
        "labels": labels.tolist(),
        "known_groups": labels.tolist() if known else None,
        "adjusted_rand_index": 1.0 if known else None,
        "task_names": list(names),
        "affinity": affinity.tolist(),
        "objective": 2.91734,
        "upper_bound": 2.91741,
        "certified_gap": 0.00007,
        "solver_status": "optimal",
        "selection": {k: 0.62 + 0.09 * abs(k - num_groups) ** 0.7 for k in candidates}
        if automatic
        else None,
        "fits": {"converged": 200, "steps": 9, "largest_grad_norm": 3.1e-7},
        "wall_seconds": {name: fake_seconds(name, name in reused, rng) for name in stages},
        "config": {
            "environment": "cartpole-planted",
            "preset": preset,
            "seed": seed,
            "hidden_sizes": (64, 64, 64),
            "ppo": {"num_envs": 40, "learning_rate": 3e-4},
            "num_groups": None if automatic else num_groups,
            "l2": 0.01,
            "score": "rollout",
            "eval_episodes": 64,
            "test_episodes": 16,
            "selection_episodes": 4,
        },
        "scores": reached,
    }
    if compared:
        report |= {
            "methods": METHODS,
            "total_env_steps": {name: paid["total"] for name, paid in env_steps.items()},
            "env_steps": env_steps,
            "method_labels": method_labels,
            "num_params": num_params,
        }
    else:
        total = sum(spent.values())
        report |= {
            "total_env_steps": {"policygradex": total},
            "env_steps": {"policygradex": {**spent, "total": total}},
        }
    return report, rows


def fake_rows(stage, names, labels, group_updates, start, end, rng):
    rows = []
    for group, count in enumerate(group_updates):
        members = [name for name, label in zip(names, labels, strict=True) if label == group]
        final = {name: end * rng.uniform(0.6, 1.4) for name in members}
        for update in range(count):
            share = 1 - np.exp(-4 * (update + 1) / count)
            # Long episodes seldom end in an update.
            returns = {
                name: round(
                    float(start + (final[name] - start) * share + rng.normal(0, 0.06 * end)), 3
                )
                for name in members
                if count < 4 or rng.random() > 0.3
            }
            steps = (update + 1) * STEPS_PER_UPDATE
            rows.append({"stage": stage, "group": group, "env_steps": steps, "returns": returns})
    return rows


def fake_scores(names, num_test_tasks, level, rng):
    source = np.clip(rng.normal(level, 60, len(names)), 9, 500)
    error = rng.uniform(1, 14, len(names))
    test = np.clip(rng.normal(level - 25, 120, num_test_tasks), 9, 500)
    test_error = test.std(ddof=1) / np.sqrt(num_test_tasks) if num_test_tasks > 1 else 0.0
    return {
        "source": {
            "mean": float(source.mean()),
            "standard_error": float(np.sqrt((error**2).sum()) / len(names)),
            "tasks": {
                name: {"mean": float(m), "standard_error": float(e)}
                for name, m, e in zip(names, source, error, strict=True)
            },
        },
        "test": {
            "mean": float(test.mean()),
            "standard_error": float(test_error),
            "tasks": test.tolist(),
        },
    }


def fake_seconds(name, reused, rng):
    total = float(rng.lognormal(1.0 if "/" in name or name == "meta" else -0.5, 0.9))
    compiling = total * float(rng.uniform(0.05, 0.7))
    return {"total": round(total, 3), "compile": round(compiling, 3), "reused": reused}


VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Checks that tags nest and that nothing is fetched; keeps what a test asks for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.data, self.images, self.ids = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            if name in attrs:
                assert attrs[name].startswith("data:"), attrs[name][:80]
        if tag == "img":
            assert attrs["alt"]
            self.images.append(attrs["src"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.data.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.data))

    def svgs(self):
        start = "data:image/svg+xml;base64,"
        assert all(image.startswith(start) for image in self.images)
        return [base64.b64decode(image.removeprefix(start)).decode() for image in self.images]
