"""Finds words and sentences that plain technical English does without; part of ``make lint``.

Software is "it": it runs, fails, retries, is unavailable. The check covers documents, docstrings,
comments, messages in string literals, and comments of manifests and Lua scripts. It prints one line
per finding and exits with 1 when there is any.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

#: What is wrong -> what it looks like.
RULES: dict[str, re.Pattern[str]] = {
    "a person: say what the software does, or 'you'": re.compile(
        r"\b(?:he|she|him|his|hers|her|himself|herself|whoever|whomever"
        r"|nobody|somebody|everybody|anybody)\b",
        re.IGNORECASE,
    ),
    "a verb of persons: say what the software does": re.compile(
        r"\b(?:speaks? (?:of|for)|is said by|(?:is|are) believed"
        r"|(?:own|caller's|client's) affair)\b",
        re.IGNORECASE,
    ),
    "a phrase of people: 'continues'": re.compile(
        r"\b(?:goes|go|gone|going|went) on(?! (?:the|a|an|to|and)\b)\b", re.IGNORECASE
    ),
    "software that talks or thinks: returns, reports, reads, stores, detects": re.compile(
        r"\b(?:executor|planner|assembler|janitor|notifier|api|service|function|endpoint|engine"
        r"|queue|store|database|server|client|library|caller|broker|proxy|gateway)\s+"
        r"(?:says|knows|knew|asks|tells|wants|sees|hears|thinks)\b"
        r"|\bas far as we know\b",
        re.IGNORECASE,
    ),
    "an inverted sentence: subject first": re.compile(
        r"(?:^|[.;:!?]\s+|\n\s*[-*]\s+)"
        r"(?:Who(?:se)?\s[^.?!]*?\b(?:is|are|may|has|gets|does|can)\b[^.?!]*[.!](?:\s|$)"
        r"|(?:Only|Never|Not|Seldom|Neither|Nor)(?:\s+then)?\s+"
        r"(?:is|are|does|do|may|can|has|have|will|was|were)\s)"
    ),
}

_FENCES = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)[^`\n]*\1|<[^>\s]+>|\]\([^)]*\)")
#: Quotations of other texts, and file names that contain a word.
_QUOTED = re.compile(r"\*\"[^\"]*\"\*")


class Passage(NamedTuple):
    """A piece of prose and where it begins."""

    line: int
    text: str


class Finding(NamedTuple):
    path: str
    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text!r}: {self.rule}"


def _blanked(match: re.Match[str]) -> str:
    """As many lines and characters, none of them prose."""
    return re.sub(r"[^\n]", "-", match[0])


def markdown(text: str) -> Iterator[Passage]:
    """All of it but code: by paragraphs, so that a sentence may span lines."""
    text = _CODE.sub(_blanked, _FENCES.sub(_blanked, text))
    line = 1
    for block in re.split(r"(\n\s*\n)", text):
        yield Passage(line, block)
        line += block.count("\n")


def _runs(comments: Iterable[tuple[int, str]]) -> Iterator[Passage]:
    """Comments on lines that follow one another are one passage."""
    begin = last = 0
    lines: list[str] = []
    for line, text in comments:
        if lines and line != last + 1:
            yield Passage(begin, "\n".join(lines))
            lines = []
        if not lines:
            begin = line
        lines.append(text)
        last = line
    if lines:
        yield Passage(begin, "\n".join(lines))


def python(text: str, *, literals: bool = True) -> Iterator[Passage]:
    """Docstrings, comments, and with ``literals`` all strings of several words."""
    comments: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments.append((token.start[0], token.string.lstrip("#: ")))
    for passage in _runs(comments):
        yield Passage(passage.line, _CODE.sub(_blanked, passage.text))
    tree = ast.parse(text)
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if id(node) in statements or (literals and " " in node.value):
            yield Passage(node.lineno, _CODE.sub(_blanked, node.value))


def hashed(text: str) -> Iterator[Passage]:
    """Comments of YAML and TOML files and of Makefiles."""
    found = re.compile(r"(?:^|\s)#+ ?(.*)")
    lines = enumerate(text.splitlines(), 1)
    yield from _runs((n, match[1]) for n, line in lines if (match := found.search(line)))


def lua(text: str) -> Iterator[Passage]:
    """Comments of Lua scripts."""
    lines = enumerate(text.splitlines(), 1)
    yield from _runs((n, line.partition("--")[2].lstrip("- ")) for n, line in lines if "--" in line)


def python_tests(text: str) -> Iterator[Passage]:
    """Docstrings and comments: strings of tests are data."""
    return python(text, literals=False)


_SCRIPT = re.compile(
    r"""//(?P<line>[^\n]*)|/\*(?P<block>.*?)\*/"""
    r"""|"(?P<double>(?:[^"\\\n]|\\.)*)"|'(?P<single>(?:[^'\\\n]|\\.)*)'|`(?P<back>(?:[^`\\]|\\.)*)`""",
    re.DOTALL,
)


def javascript(text: str, *, literals: bool = True) -> Iterator[Passage]:
    """Comments, and with ``literals`` all strings of several words."""
    for match in _SCRIPT.finditer(text):
        comment = match.lastgroup in ("line", "block")
        words = match[match.lastgroup or 0].lstrip("* ")
        if comment or (literals and " " in words):
            yield Passage(text.count("\n", 0, match.start()) + 1, words)


def javascript_tests(text: str) -> Iterator[Passage]:
    """Comments: strings of tests are data."""
    return javascript(text, literals=False)


READERS: dict[str, Callable[[str], Iterator[Passage]]] = {
    ".md": markdown,
    ".py": python,
    ".yaml": hashed,
    ".toml": hashed,
    ".lua": lua,
    ".js": javascript,
    ".mjs": javascript_tests,
}
#: Texts of others, and this check's own planted sentences.
LEFT_OUT = re.compile(
    r"^(LICENSE|constraints\.txt|examples/.*\.jsonl|tests/manifests/schemas/"
    r"|tests/fixtures/releases/|tests/prose\.py|tests/unit/test_prose\.py)"
)

#: Words that are data: (file, beginning of the string).
DATA = {("shared/batch_gateway/simulator/responses.py", "the of and to in is that")}


def findings(path: str, text: str) -> Iterator[Finding]:
    """What one file says that it should not; ``path`` decides how it is read."""
    read = READERS.get(Path(path).suffix)
    if read is None or LEFT_OUT.match(path):
        return
    if read is python and path.startswith("tests/"):
        read = python_tests
    for passage in read(text):
        if any(path == name and passage.text.startswith(words) for name, words in DATA):
            continue
        for rule, pattern in RULES.items():
            for match in pattern.finditer(_QUOTED.sub(_blanked, passage.text)):
                line = passage.line + passage.text.count("\n", 0, match.start())
                yield Finding(path, line, rule, " ".join(match[0].split())[:60])


def repository(root: Path = ROOT) -> list[Finding]:
    """The findings in all files of the repository that git knows or would add."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    return [
        finding
        for name in sorted(set(names))
        if Path(name).suffix in READERS and (root / name).is_file()
        for finding in findings(name, (root / name).read_text())
    ]


if __name__ == "__main__":
    found = repository()
    print("\n".join(map(str, found)) or "prose: nothing found")
    sys.exit(1 if found else 0)
