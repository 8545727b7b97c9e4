"""What `make demo` and `make test` install runs on the oldest Python that is supported."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]


def test_no_pinned_package_needs_a_later_release_of_the_oldest_python():
    """Debian 12 has 3.11.2, and a package for 3.11.5 stopped `make test` there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    needed = {}
    for name in pinned:
        try:
            needed[name] = metadata(name)["Requires-Python"]
        except PackageNotFoundError:  # of another platform, or for drawings
            continue

    assert len(needed) > 100
    assert [n for n, which in needed.items() if which and oldest not in SpecifierSet(which)] == []
