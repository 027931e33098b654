"""README says what is so."""

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
        'pip install -e ".[test]" && pytest',
    ]
    assert commands[1] in (ROOT / ".ci" / "run").read_text().splitlines()


def test_tables_are_those_of_the_results():
    script = ROOT / "benchmarks" / "tables.py"
    subprocess.run([sys.executable, str(script), "--check"], check=True)


def test_links_of_the_benchmarks_lead_somewhere():
    folder = ROOT / "benchmarks"
    links = re.findall(r"\]\((?!http)([^)]+)\)", (folder / "README.md").read_text())
    assert links
    assert [link for link in links if not (folder / link).exists()] == []


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
