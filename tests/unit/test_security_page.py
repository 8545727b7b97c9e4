"""SECURITY.md names a test for each promise; each of them is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_each_named_test_exists():
    named = NAMED.findall(PAGE)

    missing = [f"{path}::{name}" for path, name in named if name not in functions(ROOT / path)]

    assert len(named) > 40
    assert missing == []


def test_each_promise_names_a_test():
    _, _, promises = PAGE.partition("## Promises")
    promises, _, _ = promises.partition("## Tools")
    rows = [line for line in promises.splitlines() if line.startswith("| ")]

    assert [row for row in rows if "::" not in row and not row.startswith("| promise")] == []
