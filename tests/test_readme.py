"""README says what is so."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pgx_jax

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_ci_runs_exactly_the_readmes_test_command():
    commands = re.findall(r"```bash\n(.*?)\n```", README, re.DOTALL)
    assert commands == [
        'pip install -e ".[run]" && pgx-jax run cartpole',
        'pip install -e ".[test]" && pytest -n 3 --dist loadfile',
    ]
    assert commands[1] in (ROOT / ".ci" / "run").read_text().splitlines()


def test_tables_are_those_of_the_results():
    script = ROOT / "benchmarks" / "tables.py"
    subprocess.run([sys.executable, str(script), "--check"], check=True)


@pytest.mark.parametrize("page", ["benchmarks/README.md", "docs/extending.md"])
def test_links_of_other_pages_lead_somewhere(page):
    path = ROOT / page
    links = re.findall(r"\]\((?!http)([^)]+)\)", path.read_text())
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_what_can_be_added_is_described():
    page = (ROOT / "docs" / "extending.md").read_text()
    for path in (ROOT / "tests" / "extension").glob("test_*.py"):
        assert f"({os.path.relpath(path, ROOT / 'docs')})" in page
    for path in (ROOT / "pgx_jax").rglob("*.py"):
        for name in re.findall(r"^([A-Z_]+): Registry\[", path.read_text(), re.MULTILINE):
            assert f"{name}.register(" in page or f"`{name}`" in page


@pytest.mark.parametrize("script", (ROOT / "benchmarks").rglob("*.py"), ids=str)
def test_scripts_say_how_they_are_run(script):
    text, place = script.read_text(), script.relative_to(ROOT)
    if "__main__" in text:
        assert f"python {place}" in text.split('"""')[1]


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)]+)\)", README))
def test_links_lead_somewhere(link):
    if link.startswith("#"):
        headings = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
        assert link[1:] in [heading.lower().replace(" ", "-") for heading in headings]
    else:
        assert (ROOT / link).exists()


def test_every_function_named_is_there():
    for name in re.findall(r"pgx_jax\.([A-Za-z_]+)\(", README):
        assert hasattr(pgx_jax, name)
    for line in README.splitlines():
        for name in re.findall(r"^\| `([a-z_]+)\(", line):
            assert hasattr(pgx_jax, name)
