"""Runs the Node suites: ``python tests/node/run.py FOLDER``, where their packages are kept.

Node and npm come from a wheel; the packages are installed by npm, in the very versions that
``package-lock.json`` names. The platform runs with its model simulator for as long as the suite.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
KEY = "the key of the JavaScript source"
TEST_S, ALL_S = 120, 600  # how long one test, and all of them, may take


def addresses(data: Path) -> dict[str, str]:
    """Where the platform in ``data`` takes events: its broker, and intake itself."""
    config = json.loads((data / "run" / "broker.json").read_text())
    (broker,) = config["brokers"]
    (intake,) = (each["subscriber"] for each in broker["triggers"] if each["name"] == "intake")
    path = f"/{broker['namespace']}/{broker['name']}"
    return {
        "BROKER_URL": f"http://127.0.0.1:{config['port']}{path}",
        "INTAKE_URL": intake["url"],
        "INTAKE_HOST": intake["host"],
    }


def main(folder: Path) -> int:
    sys.path.insert(0, str(HERE.parent))
    from fixtures.command import up  # the tests' own fixtures are no package
    from fixtures.node import NODE, installed

    modules = installed(HERE, folder)
    sources = json.dumps({"/js": {"tenant": "default", "keys": [KEY]}})
    with (
        TemporaryDirectory(prefix="batch-gateway-node-") as data,
        up(Path(data), "--simulator", INTAKE__SOURCES=sources) as (_, base_url),
    ):
        options = ["--test", "--test-reporter=spec", f"--test-timeout={TEST_S * 1000}"]
        suite = [NODE, *options, *sorted(HERE.glob("*.test.cjs"))]
        environment = {
            **os.environ,
            **addresses(Path(data)),
            "NODE_PATH": str(modules),
            "BASE_URL": base_url,
            "KEY": KEY,
            "ASYNCAPI": json.dumps(yaml.safe_load((DOCS / "asyncapi.yaml").read_text())),
        }
        return subprocess.run(suite, env=environment, check=False, timeout=ALL_S).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
