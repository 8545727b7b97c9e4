"""Asks about known vulnerabilities of all pinned dependencies: ``make audit``.

Ends with 0 when there are none, 1 when there are some, 3 when the advisory database cannot be
asked: then nothing is known, which is said.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOT_ASKED = 3


def verdict(code: int, output: str, errors: str) -> tuple[int, list[str]]:
    """The exit code and the lines to print, by how pip-audit has ended."""
    try:
        found = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = (errors.strip() or f"pip-audit ended with {code}").splitlines()[-1]
        return NOT_ASKED, [f"NOT AUDITED: the advisory database cannot be asked: {reason[:300]}"]
    reasons = [package["skip_reason"] for package in found if "skip_reason" in package]
    if len(reasons) == len(found):
        why = f": {reasons[0][:300]}" if reasons else ""
        return NOT_ASKED, [f"NOT AUDITED: nothing is known of {len(found)} dependencies{why}"]
    lines = [
        f"{package['name']} {package['version']}: {one['id']}, fixed in "
        f"{', '.join(one['fix_versions']) or 'no version'}"
        for package in found
        for one in package.get("vulns", ())
    ]
    skipped = [
        f"NOT AUDITED: {package['name']}: {package['skip_reason'][:300]}"
        for package in found
        if "skip_reason" in package
    ]
    if lines:
        return 1, [*lines, *skipped]
    if skipped:
        return NOT_ASKED, skipped
    return 0, [f"{len(found)} pinned dependencies, none with a known vulnerability"]


def main() -> int:
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "tool", "run", "-q", "--from", "pip-audit>=2.9,<3", "pip-audit"]
    command += ["--requirement", str(ROOT / "constraints.txt"), "--no-deps", "--disable-pip"]
    command += ["--progress-spinner", "off", "--format", "json", "--timeout", "15"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    code, lines = verdict(ended.returncode, ended.stdout, ended.stderr)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
