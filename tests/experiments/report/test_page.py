import copy
import json
import re
from functools import cache
from xml.etree import ElementTree as ET

import pytest

from pgx_jax.experiments.report import curves
from pgx_jax.experiments.report.page import render_page
from tests.experiments.report.reports import METHODS, Page, fake_run

HOSTILE = [
    "<script>alert(1)</script>",
    'a "quoted" & <b>bold</b> name',
    "money $x_{1$ -- \\frac{",
    "_hidden\n\x07 " + "long " * 30,
]


CASES = {
    "default": {},
    "smoke, one group": {
        "num_tasks": 14,
        "num_groups": 1,
        "preset": "smoke",
        "updates": 1,
        "num_test_tasks": 6,
    },
    "hostile, every task alone": {
        "num_tasks": 4,
        "num_groups": 4,
        "automatic": False,
        "names": HOSTILE,
        "updates": 5,
    },
    "two tasks": {
        "num_tasks": 2,
        "num_groups": 1,
        "known": False,
        "num_test_tasks": 1,
        "updates": 5,
    },
    "grouping only": {"num_tasks": 3, "num_groups": 2, "compared": False, "updates": 5},
    "fifty tasks": {"num_tasks": 50, "num_groups": 7, "automatic": False, "updates": 5},
}


@pytest.fixture(scope="module")
def rendered():
    """Report, rows and page text of a case, rendered once; tests leave them as they are."""

    @cache
    def render(case):
        report, rows = fake_run(**CASES[case])
        if report["task_names"] == HOSTILE:
            report["environment"] = report["device"] = "<img src=x onerror=alert(1)>"
            report["config"]["<i>"] = "</code><script>"
            report["solver_status"] = "<i>optimal</i>"
        before = copy.deepcopy((report, rows))
        text = render_page(report, rows)
        assert (report, rows) == before
        return report, rows, text

    return render


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_page_holds_what_it_must(case, rendered):
    options = CASES[case]
    report, _, text = rendered(case)
    page = Page(text)
    words = page.text

    compared = options.get("compared", True)
    assert "script" not in page.tags
    assert not re.search(r"https?:|url\(|@import", text)
    assert len(page.ids) == len(set(page.ids))
    panels = 1 < report["num_tasks"] <= curves.LARGEST_PANELS
    assert len(page.images) == 4 + 2 * compared + (report["selection"] is not None) + panels
    for svg in page.svgs():
        ET.fromstring(svg)
        assert "date" not in svg
        # Figures refer to parts of themselves only.
        links = re.findall(r'href="([^"]*)"', svg)
        assert all(link.startswith(("#", "data:")) for link in links)
    for name in report["task_names"]:
        assert re.sub(r"\s+", " ", name) in words
    assert ("scores" in page.ids) == compared
    assert ("stopped at the groups" in words) == (not compared)
    assert ("smoke preset" in words) == (report["preset"] == "smoke")
    assert ("only one partition" in words) == (report["num_groups"] in (1, len(report["labels"])))
    given = "given" if report["num_groups_given"] else "chosen on validation subsets"
    assert f"{report['num_groups']} ({given})" in words
    assert ("Adjusted Rand index" in words) == options.get("known", True)
    for expected in ("2.91741", "200 of 200", "ppo.learning_rate", "0.7.2"):
        assert expected in words
    for method, title in METHODS.items() if compared else ():
        assert title in words
        assert f"{report['scores'][method]['source']['mean']:.1f}" in words
        assert f"{report['total_env_steps'][method]:,}" in words
        assert f"{report['num_params'][method]:,}" in words


def test_page_is_the_same_from_json_and_under_any_matplotlibrc(rendered):
    import matplotlib

    report, rows, text = rendered("grouping only")
    theirs = {"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "none"}
    with matplotlib.rc_context(theirs):
        assert render_page(json.loads(json.dumps(report)), json.loads(json.dumps(rows))) == text
        assert matplotlib.rcParams["font.size"] == 30


def test_names_are_escaped(rendered):
    _, _, text = rendered("hostile, every task alone")
    page = Page(text)
    assert not {"script", "i"} & set(page.tags)
    assert "<script" not in text.lower()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    for svg in page.svgs():
        assert not [one for one in ET.fromstring(svg).iter() if one.tag.endswith("script")]
