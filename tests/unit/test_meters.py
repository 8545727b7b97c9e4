"""What a process counts: bounded labels, exemplars while traces are on, the disks of folders."""

import shutil

import httpx
import msgspec
import pytest
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from batch_gateway import meters, traces
from batch_gateway.core.lines import PartLine
from batch_gateway.core.retry import CallOutcome
from batch_gateway.settings import FileSettings, MetadataSettings, Settings
from batch_gateway.web import metrics
from batch_gateway.web.metrics_page import MetricsPage
from batch_gateway.wiring.stores import local_folders

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


@pytest.fixture(autouse=True)
def no_models(monkeypatch):
    """Models of other tests are not counted among the first ones."""
    meters.CALL_SECONDS.clear()
    meters.FIRST_TOKEN_SECONDS.clear()
    monkeypatch.setattr(meters, "_by_model", {})


def ended(model, seconds, *, ok=True, **more):
    result = PartLine(1, ok, (3, 0, 2, 0), msgspec.Raw(b"{}"))
    meters.call_ended(CallOutcome.SUCCESS, result, model=model, seconds=seconds, **more)


def counted(name, model):
    return REGISTRY.get_sample_value(f"batch_gateway_model_{name}_count", {"model": model})


def test_calls_that_succeed_are_timed_by_model():
    ended("a", 0.2, first_token_ms=40)
    ended("a", 0.4)
    ended("a", 9.0, ok=False)
    meters.call_ended(CallOutcome.DROPPED, None, model="a", seconds=1.0)

    assert (counted("call_seconds", "a"), counted("first_token_seconds", "a")) == (2, 1)
    below = {"model": "a", "le": "0.25"}
    assert REGISTRY.get_sample_value("batch_gateway_model_call_seconds_bucket", below) == 1


def test_models_beyond_fifty_are_one():
    for number in range(60):
        ended(f"model-{number}", 1.0)
    ended("model-0", 1.0)
    ended("model-59", 1.0)

    assert counted("call_seconds", "model-0") == 2
    assert counted("call_seconds", "model-49") == 1
    assert counted("call_seconds", "model-50") is None
    assert counted("call_seconds", "(others)") == 11


async def page(accept):
    transport = httpx.ASGITransport(app=MetricsPage())
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        return await http.get("/metrics", headers={"accept": accept})


class Recorder:
    """Tells that spans are recorded."""

    def start(self, name, parent, *, kind, attributes):
        raise AssertionError("a metrics page starts no span")


@pytest.mark.parametrize(
    ("recorder", "accept", "kind"),
    [
        (Recorder(), OPENMETRICS, "application/openmetrics-text"),
        (Recorder(), "text/plain", "text/plain"),
        (None, OPENMETRICS, "text/plain"),
    ],
)
async def test_exemplars_are_told_in_openmetrics_while_spans_are_recorded(
    monkeypatch, recorder, accept, kind
):
    monkeypatch.setattr(traces, "_recorder", recorder)
    ended("a", 0.2, trace_id=TRACE, first_token_ms=40)

    answer = await page(accept)

    assert answer.headers["content-type"].partition(";")[0] == kind
    assert (TRACE in answer.text) == (kind != "text/plain")
    if kind != "text/plain":
        samples = [s for f in text_string_to_metric_families(answer.text) for s in f.samples]
        told = [s for s in samples if s.exemplar is not None]
        assert {s.name for s in told} == {
            "batch_gateway_model_call_seconds_bucket",
            "batch_gateway_model_first_token_seconds_bucket",
        }
        assert [s.exemplar.labels for s in told] == [{"trace_id": TRACE}] * 2


@pytest.mark.parametrize(
    ("metadata", "files", "folders"),
    [
        ("sqlite+aiosqlite:////data/metadata.db", "file:///data/files", ["/data", "/data/files"]),
        ("postgresql://h/d", "s3://bucket", [None, None]),
        ("redis://h", "file:///mnt/files", [None, "/mnt/files"]),
    ],
)
def test_stores_in_folders_are_known(metadata, files, folders):
    settings = Settings(metadata=MetadataSettings(url=metadata), files=FileSettings(url=files))

    found = {store: str(folder) for store, folder in local_folders(settings).items()}

    assert [found.get("metadata"), found.get("files")] == folders


def test_the_disk_of_a_folder_is_measured_until_it_is_gone(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    metrics.measure_disk("files", folder)

    size = REGISTRY.get_sample_value("batch_gateway_disk_bytes", {"store": "files"})
    free = REGISTRY.get_sample_value("batch_gateway_disk_free_bytes", {"store": "files"})
    assert size == shutil.disk_usage(folder).total
    assert 0 <= free <= size

    folder.rmdir()
    gone = REGISTRY.get_sample_value("batch_gateway_disk_free_bytes", {"store": "files"})
    assert gone != gone, "not a number"
