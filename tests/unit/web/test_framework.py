"""The framework is loaded without Flask, as long as it does not use it."""

import os
import subprocess
import sys

LOADED = "print([name for name in ('flask', 'werkzeug') if name in sys.modules])"


def said_by(*lines: str, **env: str) -> str:
    """What a fresh process prints."""
    code = "\n".join(["import sys", *lines])
    given = {name: value for name, value in os.environ.items() if name != "LOG_EXECUTION_ID"}
    found = subprocess.run(
        [sys.executable, "-c", code], env=given | env, capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def test_a_function_process_has_no_flask_in_it():
    # If this fails, the framework has begun to use Flask where it is imported: see web.framework.
    assert said_by("import batch_gateway.web.server", LOADED) == "[]"


def test_who_wants_flask_afterwards_gets_it():
    imports = "import batch_gateway.web.server, flask"

    assert said_by(imports, "print(flask.Flask('x').name)") == "x"


def test_logging_by_the_framework_brings_flask_along():
    loaded = said_by("import batch_gateway.web.server", LOADED, LOG_EXECUTION_ID="true")

    assert loaded == "['flask', 'werkzeug']"


def test_a_framework_that_wants_more_than_names_gets_the_real_flask(tmp_path):
    package = tmp_path / "functions_framework"
    package.mkdir()
    (package / "__init__.py").write_text("import flask\nclass Own(flask.Flask):\n    pass\n")
    (package / "aio.py").write_text("def create_asgi_app(*_): return 'an application'\n")

    said = said_by(
        "from batch_gateway.web.framework import create_asgi_app",
        "import functions_framework",
        "print(create_asgi_app(), functions_framework.Own.__mro__[1].__module__)",
        PYTHONPATH=str(tmp_path),
    )

    assert said == "an application flask.app"
