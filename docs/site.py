"""A hook of mkdocs: the root's pages and the examples belong to the site too, and links lead there.

Links are written for the repository, where they work on any forge.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = sorted(path.name for path in ROOT.glob("*.md") if path.name != "README.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name in PAGES:
        files.append(File.generated(config, name, content=(ROOT / name).read_text()))
    for path in sorted((ROOT / "examples").rglob("*")):
        if path.is_file() and path.suffix not in (".md", ".pyc"):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, content=path.read_bytes()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to pages of the root lead to those of the site; the README's, to the quick start."""
    markdown = re.sub(r"\]\(\.\./README\.md(#[\w-]*)?\)", "](quickstart.md)", markdown)
    markdown = re.sub(r"\]\(docs/", "](", markdown)
    return markdown.replace("](../", "](")
