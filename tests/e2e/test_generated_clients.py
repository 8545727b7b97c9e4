"""A client that openapi-python-client makes of the running service's own document works.

The generator needs another typer than the project, so it is installed by itself, once.
"""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.command import up

pytestmark = pytest.mark.e2e

GENERATOR = "openapi-python-client==0.29.1"
LINE = {
    "custom_id": "one",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"model": "sim-large", "messages": [{"role": "user", "content": "Hello"}]},
}


@pytest.fixture(scope="module")
def base_url(tmp_path_factory):
    with up(tmp_path_factory.mktemp("data"), "--simulator") as (_, url):
        yield url.removesuffix("/v1")


@pytest.fixture(scope="module")
def generated(base_url, tmp_path_factory):
    """The package that was generated, and what the generator said."""
    environment = Path(sys.prefix) / "generator"
    program = environment / "bin" / "openapi-python-client"
    if not program.exists():
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "-q", "--clear", environment], check=True)
        python = str(environment / "bin" / "python")
        subprocess.run([*uv, "pip", "install", "-q", "--python", python, GENERATOR], check=True)
    folder = tmp_path_factory.mktemp("client")
    words = ["generate", "--url", f"{base_url}/openapi.json", "--meta", "none"]
    shown = subprocess.run(
        [program, *words, "--output-path", folder / "gateway_client"],
        env={"PATH": f"{environment / 'bin'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    sys.path.insert(0, str(folder))
    yield folder / "gateway_client", shown.stdout + shown.stderr
    sys.path.remove(str(folder))


def test_it_is_generated_whole(generated):
    """But for the answer in JSON Lines, which this generator gives as bytes."""
    _, said = generated

    assert said.count("WARNING") == 1
    assert "Unsupported content_type application/jsonl" in said


def test_its_modules_and_classes_have_openai_s_names(generated):
    folder, _ = generated
    models = {path.stem for path in (folder / "models").glob("*.py")}
    operations = {path.stem for path in (folder / "api" / "batch").glob("*.py")}

    assert {"batch", "batch_list", "create_batch", "file", "upload", "model", "error"} <= models
    assert {"create_batch", "retrieve_batch", "list_batches", "cancel_batch"} <= operations
    assert not [name for name in models if "extended" in name or "inline" in name]


def test_every_module_can_be_imported(generated):
    folder, _ = generated
    names = [
        ".".join(path.relative_to(folder.parent).with_suffix("").parts)
        for path in folder.rglob("*.py")
    ]

    assert len(names) > 60
    for name in names:
        importlib.import_module(name.removesuffix(".__init__"))


def test_it_runs_a_batch_and_reads_the_results(generated, base_url):
    client = importlib.import_module("gateway_client").Client(base_url=base_url)
    models = importlib.import_module("gateway_client.models")
    api = "gateway_client.api.batch"
    create = importlib.import_module(f"{api}.create_batch")
    retrieve = importlib.import_module(f"{api}.retrieve_batch")
    results = importlib.import_module(f"{api}.list_batch_results")

    asked = models.CreateBatch.from_dict(
        {"endpoint": LINE["url"], "completion_window": "24h", "requests": [LINE]}
    )
    batch = create.sync(client=client, body=asked)
    assert isinstance(batch, models.Batch)
    answer = results.sync_detailed(
        batch.id, client=client, follow=models.ListBatchResultsFollow.TRUE
    )
    ended = retrieve.sync(batch.id, client=client)

    assert b'"custom_id":"one"' in answer.content
    assert ended.status is models.BatchStatus.COMPLETED
    assert ended.request_counts.completed == 1


def test_it_reads_errors(generated, base_url):
    client = importlib.import_module("gateway_client").Client(base_url=base_url)
    retrieve = importlib.import_module("gateway_client.api.files.retrieve_file")
    models = importlib.import_module("gateway_client.models")

    found = retrieve.sync("file-none", client=client)

    assert isinstance(found, models.ErrorResponse)
    assert found.error.type_ == "invalid_request_error"
