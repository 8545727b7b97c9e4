"""Which endpoints serve a name, and how much they may take."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from batch_gateway.core.calendar import CallLimitWindow, EndpointCalendar
from batch_gateway.core.cron import parse_cron
from batch_gateway.core.retry import judge
from batch_gateway.core.routing import (
    EnginePriority,
    ModelEndpoint,
    ModelReplica,
    ModelRoute,
    RoutingTable,
)
from batch_gateway.settings.endpoints import BreakerEntry

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
NIGHT = datetime(2026, 11, 26, 22, tzinfo=UTC)


def endpoint(name: str, *, most: int | None = None, by_day: int | None = None) -> ModelEndpoint:
    windows = (CallLimitWindow(when=(parse_cron("* 9-17 * * *"),), most=by_day or 0),)
    return ModelEndpoint(
        name=name,
        url=f"http://{name}",
        timeout=timedelta(seconds=10),
        breaker=BreakerEntry(),
        most=most,
        calendar=None
        if by_day is None
        else EndpointCalendar(zone=ZoneInfo("UTC"), windows=windows),
    )


def model(*endpoints: ModelEndpoint, most: int | None = None) -> ModelRoute:
    return ModelRoute(
        replicas=tuple(ModelReplica(endpoint=one, model="m", served="m") for one in endpoints),
        most=most,
    )


def test_a_name_nobody_serves_has_no_replica():
    table = RoutingTable(models={"m": model(endpoint("a"))})

    assert table.replicas("n") == ()
    assert table.names == {"m"}
    assert table.ceiling("n", NOON, 64) == 0
    assert table.next_change("n", NOON, 64) is None


def test_a_default_serves_every_other_name_under_its_own():
    table = RoutingTable(models={"m": model(endpoint("a"))}, default=(endpoint("b"),))

    [replica] = table.replicas("n")

    assert (replica.pool, replica.served) == ("b/n", "n")
    assert table.names == frozenset()


def test_a_models_capacity_is_that_of_its_replicas_under_their_calendars():
    table = RoutingTable(models={"m": model(endpoint("a", most=10), endpoint("b", by_day=2))})

    assert table.ceiling("m", NOON, 64) == 10 + 2
    assert table.ceiling("m", NIGHT, 64) == 10 + 64
    assert table.next_change("m", NOON, 64) == NOON.replace(hour=18)


def test_a_model_may_have_a_limit_of_its_own():
    table = RoutingTable(models={"m": model(endpoint("a"), endpoint("b"), most=70)})

    assert table.ceiling("m", NOON, 64) == 70


@pytest.mark.parametrize(("sign", "values"), [(1, (100, 109)), (-1, (-100, -109))])
def test_batch_work_comes_behind_interactive_requests_in_either_convention(sign, values):
    priority = EnginePriority(sign=sign)

    assert (priority.value(0), priority.value(9)) == values


@pytest.mark.parametrize(
    ("status", "again", "tried_again"),
    [(500, None, True), (500, {503}, False), (409, {409}, True), (200, {409}, False)],
)
def test_an_endpoint_may_say_which_answers_are_worth_another_attempt(status, again, tried_again):
    assert judge(status, None if again is None else frozenset(again)).again is tried_again
