"""The page of a run: one HTML file with its figures inside, for a researcher to read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from pgx_jax.experiments.report.costs import COSTS, step_titles
from pgx_jax.experiments.report.curves import CURVES
from pgx_jax.experiments.report.grouping import AFFINITY, CERTIFICATE, GROUPS, SELECTION
from pgx_jax.experiments.report.scores import SCORES, TASKS
from pgx_jax.experiments.report.sections import Figures, Report, Section
from pgx_jax.experiments.report.strips import STRIPS
from pgx_jax.experiments.report.text import flat_settings, number, plain, plural
from pgx_jax.registry import Registry


def _diagnostics(report: Report, *_: Any) -> dict[str, Any]:
    """The diagnostics that are no more than some values."""
    tables = {}
    for diagnostic in report.get("diagnostics", {}).values():
        if "values" in diagnostic:
            values = diagnostic["values"].items()
            tables[diagnostic["title"]] = [(name, plain(value)) for name, value in values]
    return {"tables": tables}


SECTIONS: Registry[Section] = Registry(
    "section",
    {
        "groups": GROUPS,
        "scores": SCORES,
        "affinity": AFFINITY,
        "tasks": TASKS,
        "curves": CURVES,
        "strips": STRIPS,
        "costs": COSTS,
        "selection": SELECTION,
        "certificate": CERTIFICATE,
        "diagnostics": Section(
            "Diagnostics",
            _diagnostics,
            "diagnostics.html.jinja",
            lambda report: bool(_diagnostics(report)["tables"]),
        ),
    },
)
"""The sections of a page in their order, by their id; the settings come last."""

_SETTINGS = Section(
    "Settings",
    lambda report, rows, figures: {
        "tables": {
            "Configuration": list(flat_settings(report["config"])),
            "Versions": list(report["versions"].items()),
        }
    },
    "settings.html.jinja",
)


def render_page(
    report: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], strips: Sequence[Any] = ()
) -> str:
    """The page of a run.

    Args:
        report: what ``report.json`` holds; read from the file or as ``make_report`` returns it.
        rows: of ``metrics.jsonl``.
        strips: frames of the trained policies, with ``group``, ``task`` and ``frames``; sections
            find them in the report as "strips".

    Returns:
        HTML that asks nothing of the network and runs no script. Equal inputs give equal text.

    Raises:
        ValueError: sizes within the report do not match.
        jinja2.TemplateError: a template of ``SECTIONS`` is wrong, or names what it was not given.
    """
    report = {**report, "strips": strips}
    environment = Environment(
        loader=PackageLoader("pgx_jax.experiments.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    figures = Figures()
    sections = []
    for name, section in [*SECTIONS.items(), ("settings", _SETTINGS)]:
        if section.applies(report):
            template = _find_template(environment, section.template)
            body = template.render(section.context(report, rows, figures))
            sections.append((name, section.title, body))
    page = environment.get_template("page.html.jinja")
    return page.render(sections=sections, **_headline(report)) + "\n"


def _find_template(environment: Environment, template: str | Path) -> Template:
    if isinstance(template, Path):
        return environment.from_string(template.read_text(encoding="utf-8"))
    if template.endswith(".jinja"):
        return environment.get_template(template)
    return environment.from_string(template)


def _headline(report: Report) -> dict[str, Any]:
    """What stands above the sections."""
    count, chosen = report["num_tasks"], report["num_groups"]
    how = "given" if report["num_groups_given"] else "chosen on validation subsets"
    lead = f"{plural(chosen, 'group')} of {plural(count, 'task')}; the number was {how}."
    index = report["adjusted_rand_index"]
    if index is not None:
        known = len(set(report["known_groups"]))
        lead += (
            f" Adjusted Rand index against the {plural(known, 'known group')}: "
            f"{number(index, 2)} (1: equal, about 0: chance)."
        )
    # The first method is the one that the page is about.
    method, steps = next(iter(report["total_env_steps"].items()))
    facts = {
        "Environment": report["environment"],
        "Preset": report["preset"],
        "Seed": report["seed"],
        "Groups k": f"{chosen} ({how})",
        "Task subsets": f"{report['num_subsets']:,} of {report['subset_size']} tasks",
        "Projection dimension d": f"{report['dim']:,}",
        f"Environment steps: {step_titles(report)[method]}": f"{steps:,}",
        "Device": report["device"],
    }
    if report["warm_start"] != "none":
        facts["Start of training"] = "clones of scripted experts"
    return {
        "title": f"PolicyGradEx: {report['environment']}, {report['preset']}, "
        f"seed {report['seed']}",
        "report": report,
        "lead": lead,
        "facts": facts,
    }
