"""Checks of the folder of ``batch-gateway up --data``, and of the platform that runs on it."""

import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from batch_gateway.cli.cluster import fixes
from batch_gateway.cli.doctor.findings import DoctorFinding, error, note, ok, warning
from batch_gateway.cli.errors import CommandError

_TIGHT = 0.05  # of the disk


async def check_folder(data: Path) -> list[DoctorFinding]:
    """Raises CommandError where ``data`` is no such folder."""
    import batch_gateway.adapters.sql  # noqa: F401 - imports take long: not within a time limit
    from batch_gateway.cli.doctor import stores
    from batch_gateway.cli.metadata_settings import settings_of

    found = settings_of(data)
    settings = found.model_copy(
        update={"metadata": found.metadata.model_copy(update={"migrate": False})}
    )
    findings = [*_secrets(data), *_room(data)]
    for check in (stores.metadata, stores.files):
        findings += await stores.findings_of(check, settings)
    findings += [finding async for finding in _platform(data)]
    # What SQLite is for is exactly this.
    return [finding for finding in findings if "not for a cluster" not in finding.what]


def _secrets(data: Path) -> Iterator[DoctorFinding]:
    """Keys are for the owner alone."""
    for path in sorted((data / "secrets").glob("*")):
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield warning(f"others may read {path}", fixes.protect_file(path))


def _room(data: Path) -> Iterator[DoctorFinding]:
    usage = shutil.disk_usage(data)
    free = f"{usage.free / 2**30:.1f} GiB of the disk of {data} are free"
    if usage.free < _TIGHT * usage.total:
        yield warning(f"only {free}", "delete what is not needed, or move the folder")
    else:
        yield ok(free)


async def _platform(data: Path) -> AsyncIterator[DoctorFinding]:
    """Whether one runs on the folder, answers, and reaches its models."""
    import httpx

    from batch_gateway.cli.status.deployed import url_of

    try:
        url = url_of(data)
    except CommandError as reason:
        yield note(str(reason), fixes.start_platform(data))
        return
    try:
        async with httpx.AsyncClient(timeout=20, trust_env=False) as http:
            answer = await http.get(f"{url}/v1/models")
    except httpx.HTTPError as wrong:
        yield error(f"the API at {url} does not answer: {wrong}", f"look into {data / 'logs'}")
        return
    if answer.status_code == 401:
        yield ok(f"the API at {url} answers, and requires a key")
    elif answer.status_code != 200:
        yield error(
            f"the API at {url} answers {answer.status_code}",
            fixes.show_logs_of_api(data),
        )
    elif not answer.json()["data"]:
        yield warning(
            f"the API at {url} answers, but serves no model: its endpoint does not answer",
            "start the model server, or name it: `batch-gateway up --inference-url URL`",
        )
    else:
        models = ", ".join(model["id"] for model in answer.json()["data"][:5])
        yield ok(f"the API at {url} answers and serves {models}")
