"""``make compare``: the naive loop and a rival, which is this gateway behind a URL of its own."""

import pytest
from benchmarks import compare
from benchmarks.compared_systems import NaiveLoop, Rival, Work, endpoint, gateway

pytestmark = pytest.mark.e2e


async def test_systems_are_measured_on_the_same_work():
    work = Work(lines=300, latency_ms=5, body_bytes=500, calls=32)
    async with endpoint(0, work.latency_ms) as to, gateway(to.url, work.calls) as running:
        rival = Rival(name="rival", base_url=running.base_url, pids=[running.pid])
        elsewhere = Rival(name="elsewhere", base_url=f"{to.url}/")

        found = await compare.compare([NaiveLoop(), rival, elsewhere], work, 1, to)

    (naive,), (here,), (failed,) = found.values()
    assert not isinstance(naive, str)
    assert not isinstance(here, str)
    assert compare.sound({"naive": [naive], "here": [here]})
    assert (naive.bytes_kept, here.bytes_kept) == (0.0, 1.0)
    assert here.in_order
    assert here.sent_again == naive.sent_again == 0
    assert 0 < here.first_request_s < here.makespan_s
    assert work.ideal_s < here.makespan_s
    assert here.efficiency == work.ideal_s / here.makespan_s
    assert here.upload_s > 0
    assert naive.cpu_s_per_1000 > 0
    assert here.cpu_s_per_1000 > 0
    assert here.peak_mib > 50
    assert isinstance(failed, str)  # an endpoint is no batch service
