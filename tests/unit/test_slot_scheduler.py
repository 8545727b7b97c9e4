"""The order in which lines get free slots."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from batch_gateway.services.execute.slot_scheduler import SlotScheduler
from batch_gateway.settings import QueueSettings

T0 = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass(eq=False)
class Held:
    """What the scheduler looks at of a leased shard."""

    name: str
    lines: int
    urgent: bool = False
    deadline: datetime = T0
    running: int = 0
    tenant: str = "t"

    @property
    def lease(self) -> "Held":
        return self


def started(rules: QueueSettings, slots: int, *held: Held) -> list[str]:
    """The lines that get ``slots`` free slots, in order."""
    scheduler, order = SlotScheduler(rules), []

    def take(one: Any) -> Any:
        if one.lines == 0:
            return None
        one.lines -= 1
        one.running += 1
        return one

    while len(order) < slots and (work := scheduler.next(cast("Any", held), slots, take)):
        order.append(cast("Held", work).name)
    return order


def test_without_urgency_shards_go_in_the_order_of_their_leases():
    assert started(QueueSettings(), 4, Held("a", 3), Held("b", 3)) == ["a", "a", "a", "b"]


def test_urgent_shards_go_first_by_deadline():
    later = Held("later", 2, urgent=True, deadline=T0 + timedelta(hours=1))
    sooner = Held("sooner", 2, urgent=True)

    order = started(QueueSettings(urgent_share=1), 5, Held("fair", 9), later, sooner)

    assert order == ["sooner", "sooner", "later", "later", "fair"]


def test_urgent_work_leaves_others_their_share_and_takes_what_they_leave():
    order = started(
        QueueSettings(urgent_share=0.75), 8, Held("fair", 9), Held("urgent", 9, urgent=True)
    )
    assert order == ["urgent"] * 6 + ["fair"] * 2

    order = started(
        QueueSettings(urgent_share=0.75), 8, Held("fair", 1), Held("urgent", 9, urgent=True)
    )
    assert order == ["urgent"] * 6 + ["fair"] + ["urgent"]


@pytest.mark.parametrize(("slots", "fair"), [(10, 8), (2, 1), (1, 1)])
def test_a_reserve_is_for_urgent_work_only(slots, fair):
    rules = QueueSettings(urgent_reserve=0.2, urgent_share=1)

    assert started(rules, slots, Held("fair", 99)) == ["fair"] * fair
    everybody = started(rules, slots, Held("fair", 99), Held("urgent", 99, urgent=True))
    assert everybody == ["urgent"] * slots


def test_tenants_share_the_slots_by_weight_whoever_was_first():
    order = started(QueueSettings(), 6, Held("a", 99, tenant="a"), Held("b", 2, tenant="b"))
    assert order == ["a", "b", "a", "b", "a", "a"]

    weighted = QueueSettings(tenant_weights={"b": 2})
    order = started(weighted, 6, Held("a", 99, tenant="a"), Held("b", 99, tenant="b"))
    assert sorted(order) == ["a", "a", "b", "b", "b", "b"]


def test_a_tenant_that_comes_late_gets_all_free_slots_until_it_has_its_share():
    huge, small = Held("a", 99, tenant="a", running=8), Held("b", 99, tenant="b")

    assert started(QueueSettings(), 10, huge, small) == ["b"] * 8 + ["a", "b"]
