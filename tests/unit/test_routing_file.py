"""The routing file's form: what it means, and the errors of a wrong one."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from batch_gateway.settings.routes import checked_routes

DOCS = Path(__file__).parents[2] / "docs" / "routing.md"


def test_the_example_of_the_documentation_is_a_routing_file():
    [example] = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    table = checked_routes(yaml.safe_load(example)).table()

    assert [replica.pool for replica in table.replicas("qwen3-32b")] == [
        "big-a/qwen3-32b",
        "big-b/Qwen/Qwen3-32B",
    ]
    assert [replica.weight for replica in table.replicas("qwen3-32b")] == [2, 1]
    assert table.replicas("gpt-4o-mini") == table.replicas("qwen3-8b")
    [adapter] = table.replicas("legal-bot")
    assert (adapter.pool, adapter.served) == ("small/qwen3-8b", "lora-legal-v3")
    [other] = table.replicas("anything")
    assert (other.endpoint.name, other.served) == ("small", "anything")
    by_day = datetime(2026, 11, 26, 12, tzinfo=UTC)
    assert table.ceiling("qwen3-32b", by_day, 256) == 96  # 2 and 256, but the model's own limit
    assert table.replicas("qwen3-32b")[0].endpoint.bound(by_day) == 2
    assert table.replicas("qwen3-32b")[0].endpoint.retry.attempts == 3


ENDPOINT = {"a": {"url": "http://a"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Input should be"),
        ({"endpoints": {}}, "endpoints: "),
        ({"endpoints": ENDPOINT}, "neither models nor default"),
        ({"endpoints": {"a": {}}, "default": "a"}, "endpoints.a.url: Field required"),
        ({"endpoints": {"a": {"url": "a:8000"}}, "default": "a"}, "endpoints.a.url: must be http"),
        (
            {"endpoints": {"a": {"url": "http://a/v1/"}}, "default": "a"},
            "endpoints.a.url: must not end in /v1",
        ),
        ({"endpoints": {"a/b": {"url": "http://a"}}, "default": "a"}, "endpoints.a/b"),
        ({"endpoints": ENDPOINT, "default": "b"}, "default: there is no endpoint 'b'"),
        (
            {"endpoints": ENDPOINT, "models": {"m": ["a", "b"]}},
            "models.m: there is no endpoint 'b'",
        ),
        (
            {"endpoints": ENDPOINT, "models": {"m": ["a", "a"]}},
            "models.m: an endpoint is named twice",
        ),
        ({"endpoints": ENDPOINT, "models": {"m": []}}, "models.m.replicas: "),
        (
            {"endpoints": ENDPOINT, "models": {"m": "a"}, "aliases": {"x": "n"}},
            "aliases.x: there is no model 'n'",
        ),
        (
            {"endpoints": ENDPOINT, "models": {"m": "a"}, "aliases": {"m": "m"}},
            "aliases.m: the name is taken",
        ),
        (
            {
                "endpoints": ENDPOINT,
                "models": {"m": "a"},
                "aliases": {"x": "m"},
                "adapters": {"x": "m"},
            },
            "adapters.x: the name is taken",
        ),
        (
            {"endpoints": {"a": {"url": "http://a", "timeout_s": 0}}, "default": "a"},
            "endpoints.a.timeout_s: Input should be greater than 0",
        ),
        (
            {"endpoints": {"a": {"url": "http://a", "timeout": 1}}, "default": "a"},
            "endpoints.a.timeout: Extra inputs are not permitted",
        ),
        (
            {"endpoints": {"a": {"url": "http://a", "headers": {"x": "a\nb"}}}, "default": "a"},
            "endpoints.a.headers: 'x' is not a header",
        ),
        (
            {
                "endpoints": {"a": {"url": "http://a", "headers": {"Authorization": "x"}}},
                "default": "a",
            },
            "endpoints.a.headers: Authorization cannot be set here",
        ),
        (
            {
                "endpoints": {"a": {"url": "http://a", "api_key_file": "/k", "api_key_env": "K"}},
                "default": "a",
            },
            "endpoints.a: api_key_file and api_key_env exclude each other",
        ),
        (
            {"endpoints": {"a": {"url": "http://a", "client_key_file": "/k"}}, "default": "a"},
            "endpoints.a: client_key_file needs client_cert_file",
        ),
        (
            {
                "endpoints": {
                    "a": {
                        "url": "http://a",
                        "calendar": {"time_zone": "Europe/Nowhere", "windows": []},
                    }
                },
                "default": "a",
            },
            "endpoints.a.calendar.time_zone: ",
        ),
        (
            {
                "endpoints": {
                    "a": {
                        "url": "http://a",
                        "calendar": {"windows": [{"when": "* 24 * * *", "max_concurrency": 0}]},
                    }
                },
                "default": "a",
            },
            "endpoints.a.calendar.windows.0.when.0: hour '24' is not within 0-23",
        ),
        (
            {
                "endpoints": {"a": {"url": "http://a", "breaker": {"pause_s": 60}}},
                "default": "a",
            },
            "endpoints.a.breaker: pause_s must not be above pause_max_s",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(content, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        checked_routes(content)
