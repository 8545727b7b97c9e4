"""The wheel in a clean environment: small, whole, and clear about what is not there."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from fixtures.command import READY

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

ROOT = Path(__file__).parents[2]
UV = [sys.executable, "-m", "uv"]
MOST_MB = 130  # of the environment: Python packages and the server of one machine


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([*UV, "build", "-q", "--out-dir", folder, ROOT], check=True)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


@pytest.fixture(scope="module")
def clean(built, tmp_path_factory):
    """The programs of an environment with nothing but the wheel in it."""
    folder = tmp_path_factory.mktemp("clean")
    subprocess.run([*UV, "venv", "-q", folder], check=True)
    python = folder / "bin" / "python"
    command = [*UV, "pip", "install", "-q", "--link-mode", "copy", "--python", python]
    subprocess.run([*command, "-c", ROOT / "constraints.txt", built[0]], check=True)
    return folder / "bin"


def run(program, *words, cwd, timeout_s=120, **environment):
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [program, *words],
        cwd=cwd,
        env={**plain, **environment},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def test_the_version_stands_in_one_place(built, clean, tmp_path):
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    shown = run(clean / "batch-gateway", "--version", cwd=tmp_path).stdout

    assert version("batch-gateway") == stated
    assert shown.strip() == f"batch-gateway {stated}"
    assert all(f"-{stated}" in path.name for path in built)


def test_wheel_and_source_hold_what_they_need_and_no_more(built):
    wheel = set(zipfile.ZipFile(built[0]).namelist())
    with tarfile.open(built[1]) as archive:
        source = archive.getnames()

    for name in ("py.typed", "_deployment/functions/api/main.py", "_deployment/knative/base"):
        assert any(path.startswith(f"batch_gateway/{name}") for path in wheel), name
    assert any(path.endswith(".lua") for path in wheel)
    assert not [path for path in wheel if path.startswith(("tests/", "docs/", "benchmarks/"))]
    assert any(path.endswith("/tests/image/test_package.py") for path in source)
    assert any(path.endswith("/constraints.txt") for path in source)


def test_it_is_small(clean):
    folder = clean.parent
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    names = {path.name for path in folder.glob("lib/*/site-packages/*")}

    assert size < MOST_MB
    assert not names & {"boto3", "botocore", "kubernetes", "asyncpg", "openai", "kubectl"}


def test_it_runs_a_batch_in_an_empty_folder(clean, tmp_path):
    service = subprocess.Popen(
        [clean / "batch-gateway", "up", "--simulator", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    try:
        line = service.stdout.readline()
        assert line.startswith(READY)
        url = line.removeprefix(READY).strip().removesuffix("/v1")
        words = ["run", str(ROOT / "examples/reviews.jsonl"), "-o", "results.jsonl"]
        done = run(clean / "batch-gateway", *words, "--url", url, cwd=tmp_path)
    finally:
        service.terminate()
        service.wait(timeout=60)
        service.stdout.close()

    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 60


@pytest.mark.timeout(600)
def test_the_source_is_installed_and_runs_the_demo(built, tmp_path):
    """As ``make demo`` does it in a clone, of what the source distribution alone holds."""
    environment = tmp_path / "environment"
    subprocess.run([*UV, "venv", "-q", environment], check=True)
    python = environment / "bin" / "python"
    command = [*UV, "pip", "install", "-q", "--python", python, "-c", ROOT / "constraints.txt"]
    subprocess.run([*command, f"batch-gateway[local] @ {built[1].as_uri()}"], check=True)
    with tarfile.open(built[1]) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.glob("batch_gateway-*")
    shutil.rmtree(folder / "shared")  # what runs is what was installed

    done = run(python, folder / "examples" / "demo.py", cwd=tmp_path, timeout_s=400)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1200" in done.stdout.replace(",", "")


def test_the_client_without_the_sdk_says_what_to_install(clean, tmp_path):
    failed = run(clean / "python", "-c", "import batch_gateway.client", cwd=tmp_path)

    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == (
        "ImportError: batch_gateway.client needs the OpenAI SDK: pip install openai"
    )


@pytest.mark.parametrize(
    ("words", "environment", "extra"),
    [
        (["up", "--simulator"], {"BATCH_GATEWAY_FILES__URL": "s3://bucket"}, "s3"),
        (["migrate"], {"BATCH_GATEWAY_METADATA__URL": "postgresql+asyncpg://h/d"}, "postgres"),
        (["up"], {"BATCH_GATEWAY_METADATA__URL": "postgresql+asyncpg://h/d"}, "postgres"),
        (["deploy", "--image", "image:1"], {}, "cluster"),
        (["doctor"], {}, "cluster"),
        (["status"], {}, "cluster"),
    ],
    ids=["up on s3", "migrate postgres", "up on postgres", "deploy", "doctor", "status"],
)
def test_a_missing_extra_is_told_in_one_line_with_the_command_that_helps(
    clean, tmp_path, words, environment, extra
):
    failed = run(clean / "batch-gateway", *words, cwd=tmp_path, **environment)

    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1, failed.stderr
    assert f"pip install 'batch-gateway[{extra}]'" in failed.stderr
