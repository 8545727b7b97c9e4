"""Alerts and dashboard: every metric and every label that they name is one that we have."""

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from fixtures.scrapes import appearing_later
from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.prometheus import Dataquery
from prometheus_client import REGISTRY

from batch_gateway import meters
from batch_gateway.core.ids import TenantId
from batch_gateway.core.limits import Brake, LimitState, MonitorSignal
from batch_gateway.core.model import BatchStatus
from batch_gateway.local.metrics_targets import FILE
from batch_gateway.local.options import PlatformOptions
from batch_gateway.ports.batches import Backlog
from batch_gateway.ports.coordination import PoolState
from batch_gateway.ports.shard_queue import QueueDepth
from batch_gateway.services.state_snapshot import CoordinationState, MetadataState, ServiceState
from batch_gateway.web import metrics
from batch_gateway.web.state_metrics import families

COMPONENT = Path(__file__).parents[2] / "knative" / "components" / "monitoring"
ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "monitoring.md"
RUNBOOKS = ROOT / "docs" / "runbooks.md"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
OWN = ("batch_gateway_", "time", "sum", "rate", "increase", "absent", "histogram_quantile")


def full_state() -> ServiceState:
    """A state in which everything is known."""
    seen = MonitorSignal(
        brake=Brake.ENGINE, room=0, reason="", ttft_ms=1.0, running=1, waiting=1, cache=0.5
    )
    pool = PoolState(
        pool="p",
        endpoint="e",
        limit=LimitState(limit=3, last_brake=Brake.PROBE, braked_at=NOW),
        granted=1,
        in_use=1,
        wanted=2,
        holders=1,
        aborted=0,
        signal=seen,
    )
    backlog = Backlog(first_deadline=NOW, requests={"m": 1}, open_batches={TenantId("t"): 1})
    return ServiceState(
        at=NOW,
        stored=MetadataState(
            batches={BatchStatus.VALIDATING: 1},
            backlog=backlog,
            last_dead=NOW,
            pending_webhooks=0,
            unsent_since=NOW,
        ),
        shared=CoordinationState(
            depth=QueueDepth(ready=1, leased=1, reserved=1),
            pools=[pool],
            running=1,
            pending=1,
            full=["files"],
        ),
    )


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """metric -> its labels."""
    assert metrics.REQUESTS
    assert meters.CALLS
    found = {family.name: labels_of(family) for family in families(full_state(), tenants=1)}
    for collector in list(REGISTRY._collector_to_names):
        labels = set(getattr(collector, "_labelnames", ()))
        for name in REGISTRY._collector_to_names[collector]:
            if name.startswith("batch_gateway_"):
                found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return found


def exported() -> set[str]:
    """The names that metrics are asked for by, without those of the parts of histograms."""
    own = {metric.name + "_total" * (metric.type == "counter") for metric in REGISTRY.collect()}
    state = {family.name for family in families(full_state(), tenants=1)}
    return {name for name in own | state if name.startswith("batch_gateway_")}


def labels_of(family) -> set[str]:
    assert family.samples, family.name
    return {label for sample in family.samples for label in sample.labels}


def rules() -> list[dict]:
    rule = yaml.safe_load((COMPONENT / "prometheus-rule.yaml").read_text())
    return [alert for group in rule["spec"]["groups"] for alert in group["rules"]]


def panels() -> list[dict]:
    return json.loads((COMPONENT / "batch-gateway.json").read_text())["panels"]


def expressions() -> list[str]:
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    return asked + [alert["expr"] for alert in rules()]


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_names_metrics_and_labels_that_exist(known, expression):
    named = re.findall(r"(batch_gateway_\w+)(?:\{([^}]*)\})?", expression)

    assert named
    for metric, selector in named:
        assert metric in known, metric
        assert set(re.findall(r"(\w+)\s*[=!]", selector)) <= known[metric]
    for labels in re.findall(r"by \(([^)]*)\)", expression):
        every = set.union(*(known[metric] for metric, _ in named))
        assert {label.strip() for label in labels.split(",")} <= every


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_is_promql_and_gives_a_value_per_series(expression):
    parsed = promql_parser.parse(expression)  # Prometheus' own grammar and type rules

    assert not isinstance(parsed, promql_parser.MatrixSelector | promql_parser.StringLiteral)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("sum(rate(a[5m])", "unclosed left parenthesis"),
        ("rate(a)", "expected type matrix"),
        ("a and 1", "not allowed in binary scalar expression"),
        ('a{b=~"("}', "illegal regex"),
    ],
)
def test_what_is_no_promql_is_found(wrong, why):
    with pytest.raises(ValueError, match=why):
        promql_parser.parse(wrong)


def lost(given: Any, read: Any, where: str = "") -> Iterator[str]:
    """What of ``given`` is not in ``read`` as it was."""
    if isinstance(given, dict) and isinstance(read, dict):
        for name, value in given.items():
            yield from lost(value, read.get(name), f"{where}/{name}")
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        for number, (value, other) in enumerate(zip(given, read, strict=True)):
            yield from lost(value, other, f"{where}/{number}")
    elif given != read:
        yield where


def test_grafana_s_own_types_read_the_whole_dashboard():
    plugins.register_default_plugins()
    given = json.loads((COMPONENT / "batch-gateway.json").read_text())
    read = dashboard.Dashboard.from_json(given)
    misspelt = dashboard.Dashboard.from_json(given | {"refesh": "30s"})

    encoded = encoder.JSONEncoder(sort_keys=True).encode
    assert list(lost(given, json.loads(encoded(read)))) == []
    assert list(lost(given | {"refesh": "30s"}, json.loads(encoded(misspelt)))) == ["/refesh"]
    for panel in read.panels:
        assert panel.grid_pos.x + panel.grid_pos.w <= 24
        assert {type(target) for target in panel.targets} == {Dataquery}


def test_legends_and_alerts_use_labels_that_their_metrics_have(known):
    texts = [(t["expr"], t["legendFormat"]) for panel in panels() for t in panel["targets"]]
    for alert in rules():
        texts.append((alert["expr"], alert["annotations"]["summary"].replace("$labels.", "")))
    for expression, text in texts:
        named = set(re.findall(r"batch_gateway_\w+", expression))
        every = set.union(*(known[metric] for metric in named))
        assert set(re.findall(r"\{\{ ?(\w+) ?\}\}", text)) <= every, text


def test_every_alert_says_how_bad_it_is_and_where_to_begin():
    for alert in rules():
        assert promql_parser.parse_duration(alert.get("for", "1m"))
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert set(alert["annotations"]) == {"summary", "description", "runbook"}


def test_exactly_our_metrics_and_alerts_are_documented(known):
    text = DOCUMENT.read_text()

    documented = re.findall(r"^\| `(batch_gateway_\w+)` \|", text, re.M)
    assert sorted(documented) == sorted(exported())
    alerts = re.findall(r"^\| `(BatchGateway\w+)` \| (\w+) \|", text, re.M)
    ours = [(alert["alert"], alert["labels"]["severity"]) for alert in rules()]
    assert sorted(alerts) == sorted(ours)


def test_every_alert_leads_to_its_own_runbook():
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOKS.read_text(), re.M | re.S))

    assert list(sections) == [alert["alert"] for alert in rules()]
    for alert in rules():
        text = sections[alert["alert"]]
        assert alert["annotations"]["runbook"] == f"docs/runbooks.md#{alert['alert'].lower()}"
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.M) == ["Meaning", "Look", "Do"]


def test_a_runbook_names_metrics_and_brakes_that_exist(known):
    text = RUNBOOKS.read_text()

    assert set(re.findall(r"`(batch_gateway_\w+)", text)) <= set(known)
    assert {f"`{brake}`" for brake in Brake} <= set(re.findall(r"`\w+`", text))


def test_each_metric_is_scraped_once_from_the_service_or_from_the_pods():
    """Panels would draw, and sums count, each of them twice."""
    monitor = yaml.safe_load((COMPONENT / "pod-monitor.yaml").read_text())
    service = yaml.safe_load((COMPONENT / "scrape-config.yaml").read_text())
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (drop,) = endpoint["metricRelabelings"]
    (keep,) = service["spec"]["metricRelabelings"]
    state = {family.name for family in families(full_state(), tenants=1)}

    assert (drop["sourceLabels"], drop["action"]) == (["__name__"], "drop")
    assert keep == drop | {"action": "keep"}
    kept = {name for name in state if not re.fullmatch(drop["regex"], name)}
    lost = {name for name in exported() - state if re.fullmatch(drop["regex"], name)}
    assert kept == set()
    assert lost == set()


def plain_jobs() -> dict[str, dict]:
    config = yaml.safe_load((ROOT / "examples" / "prometheus.yml").read_text())
    return {job["job_name"]: job for job in config["scrape_configs"]}


def test_a_plain_prometheus_scrapes_and_alerts_as_the_operator_s_does():
    """The rules are the operator's, taken out by the documented command."""
    config = yaml.safe_load((ROOT / "examples" / "prometheus.yml").read_text())
    monitor = yaml.safe_load((COMPONENT / "pod-monitor.yaml").read_text())
    (relabeling,) = monitor["spec"]["podMetricsEndpoints"][0]["metricRelabelings"]
    plain_relabeling = {"source_labels": ["__name__"], "regex": relabeling["regex"]}
    state, functions = plain_jobs().values()
    (command,) = re.findall(r"^sed .*$", DOCUMENT.read_text(), re.M)
    script = command.partition(" > ")[0]
    plain = yaml.safe_load(subprocess.check_output(script, shell=True, cwd=ROOT))

    assert plain == yaml.safe_load((COMPONENT / "prometheus-rule.yaml").read_text())["spec"]
    assert config["rule_files"] == [command.partition(" > ")[2]]
    assert state["metric_relabel_configs"] == [plain_relabeling | {"action": "keep"}]
    assert functions["metric_relabel_configs"] == [plain_relabeling | {"action": "drop"}]
    assert promql_parser.parse_duration(state["scrape_timeout"]) <= promql_parser.parse_duration(
        state["scrape_interval"]
    )


def test_the_plain_scrapes_name_the_port_of_up_and_the_file_of_its_processes():
    state, functions = plain_jobs().values()

    assert state["static_configs"] == [{"targets": [f"127.0.0.1:{PlatformOptions().port}"]}]
    assert functions["file_sd_configs"] == [{"files": [f"data/run/{FILE}"]}]
    assert "batch-gateway up --data data\n" in DOCUMENT.read_text()


def test_panels_without_data_are_panels_of_the_dashboard():
    """What the page says of a panel names one of its metrics."""
    titles = {panel["title"]: str(panel["targets"]) for panel in panels()}
    rows = re.findall(r"^\| (.+) \| `(batch_gateway_\w+)` \| .+ \|$", DOCUMENT.read_text(), re.M)

    assert {metric for _, metric in rows} == appearing_later()
    for title, metric in rows:
        assert metric in next(text for name, text in titles.items() if name.startswith(title))
