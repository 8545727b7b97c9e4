"""The eight functions are installed where nothing is there yet: no function waits for another."""

import shutil

import pytest
from fixtures.gateway import chat_lines, custom_ids
from manifests.kustomize import ROOT

from batch_gateway.local.platform import PlatformError

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

INSTALL_S = 240


@pytest.fixture
def manifests(tmp_path):
    """The repository's own manifests and entry points, to be changed."""
    root = tmp_path / "deployment"
    for folder in ("knative", "eventing", "functions"):
        shutil.copytree(ROOT / folder, root / folder)
    return root


def change(root, file, old, new):
    path = root / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("class_", ["MTChannelBasedBroker", "RabbitMQBroker"])
async def test_all_functions_become_ready_and_a_batch_completes(start_gateway, manifests, class_):
    annotation = '    messaging.knative.dev/async-handler: "true"\n'
    named = f"{annotation}    eventing.knative.dev/broker.class: {class_}\n"
    change(manifests, "eventing/base/broker.yaml", annotation, named)

    gateway = await start_gateway(
        root=manifests, first_install=True, install_s=INSTALL_S, settings={"sweep": {}}
    )

    # The first revision became ready without K_SINK; the SinkBinding has made the second.
    platform = gateway.platform
    revisions = {name: platform.latest_revision(name) for name in platform.services}
    assert revisions == {name: f"{name}-00002" for name in platform.services}
    assert len(revisions) == 8
    ended = await gateway.ended(await gateway.submit(chat_lines(20)), seconds=120)
    output, errors = await gateway.results(ended)
    assert (ended.status, errors) == ("completed", [])
    assert custom_ids(output) == [f"line-{n}" for n in range(1, 21)]


async def test_a_dead_letter_sink_that_does_not_start_keeps_the_broker_from_an_address(
    start_gateway, manifests, tmp_path
):
    change(manifests, "knative/base/deadletter.yaml", "args: [deadletter]", "args: [undertaker]")

    told = ""
    for install_s in (8, 30, 120):  # a busy machine takes longer until the function has ended
        with pytest.raises(PlatformError) as caught:
            await start_gateway(
                root=manifests,
                first_install=True,
                install_s=install_s,
                data=tmp_path / f"data-{install_s}",
            )
        told = str(caught.value)
        if "Service deadletter: ended with exit code" in told:
            break

    assert "Service deadletter: ended with exit code" in told
    assert "Broker batch-gateway: its dead letter sink has no address" in told
