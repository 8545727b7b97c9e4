"""What happens in one round, drawn from its seed alone: stores, batches and faults.

Equal seeds give equal schedules, whatever this machine can do; a fault that it cannot inject is
left out when the round runs, and the log says so. So a failing seed replays.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

SERVICES = ("api", "planner", "executor", "assembler", "janitor")
TENANTS = ("alice", "bob", "carol")
MODELS = ("sim-large", "sim-small")

#: The combinations of stores, in the words of their settings.
SQLITE, POSTGRES, VALKEY = "sqlite+folder+valkey", "postgresql+s3+redis6.2", "valkey+folder+valkey"
STORES = (SQLITE, POSTGRES, VALKEY)


@dataclass(frozen=True, kw_only=True)
class PlannedBatch:
    tenant: str
    lines: int
    model: str
    at_s: float  # when it is submitted
    cancelled: bool  # by its owner, once a third of its lines have results


@dataclass(frozen=True, kw_only=True)
class Strike:
    at_s: float
    fault: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        words = " ".join(f"{name}={value}" for name, value in self.params.items())
        return f"{self.at_s:5.1f} s  {self.fault} {words}".rstrip()


@dataclass(frozen=True, kw_only=True)
class Schedule:
    seed: int
    stores: str
    batches: Sequence[PlannedBatch]
    strikes: Sequence[Strike]

    def __str__(self) -> str:
        sizes = ", ".join(
            f"{batch.tenant} {batch.lines}{' (cancelled)' if batch.cancelled else ''}"
            for batch in self.batches
        )
        strikes = "\n".join(f"  {strike}" for strike in self.strikes)
        return f"seed {self.seed}: {self.stores}; batches: {sizes}\n{strikes}"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of fault: where it makes sense, how often it is drawn, and with what."""

    weight: float
    draw: Callable[[Random], dict[str, Any]]
    stores: Sequence[str] = STORES


def _for_s(least: float, most: float) -> Callable[[Random], dict[str, Any]]:
    return lambda random: {"for_s": round(random.uniform(least, most), 1)}


def _nothing(_: Random) -> dict[str, Any]:
    return {}


def _service(random: Random) -> dict[str, Any]:
    return {"service": random.choices(SERVICES, (2, 2, 5, 2, 1))[0]}


def _stopped(random: Random) -> dict[str, Any]:
    return _service(random) | _for_s(1, 6)(random)


def _events(random: Random) -> dict[str, Any]:
    return {
        "drop": random.choice((0.0, 0.2, 0.5)),
        "duplicate": random.choice((0.0, 0.2, 0.4)),
        "delay": 0.1,
        "for_s": round(random.uniform(2, 8), 1),
    }


def _endpoint(random: Random) -> dict[str, Any]:
    kinds = ("429", "503", "500", "timeout", "disconnect", "cut", "malformed", "hostile")
    return {
        "kinds": sorted(random.sample(kinds, random.randint(1, 3))),
        "rate": random.choice((0.1, 0.5, 1.0)),
        "for_s": round(random.uniform(1, 6), 1),
    }


def _clock(random: Random) -> dict[str, Any]:
    return {
        "service": random.choice((*SERVICES, "all")),
        "offset_s": random.choice((-3600, -60, -15, 15, 60, 3600)),
        "for_s": round(random.uniform(2, 8), 1),
    }


def _postgres_stop(random: Random) -> dict[str, Any]:
    return {"mode": random.choice(("fast", "immediate"))}


def _rate(random: Random) -> dict[str, Any]:
    return {"rate": random.choice((0.1, 0.3, 0.6)), "for_s": round(random.uniform(2, 6), 1)}


def _sql_error(random: Random) -> dict[str, Any]:
    return {"sqlstate": random.choice(("40001", "40P01"))} | _rate(random)


def _s3_error(random: Random) -> dict[str, Any]:
    return {"error": random.choice(("InternalError", "SlowDown", "ServiceUnavailable"))} | _rate(
        random
    )


def _s3_full(random: Random) -> dict[str, Any]:
    error = random.choice(("XMinioStorageFull", "QuotaExceeded"))
    return {"error": error} | _for_s(2, 6)(random)


KINDS: Mapping[str, Kind] = {
    "kill": Kind(weight=4, draw=_service),
    "terminate": Kind(weight=2, draw=_service),
    "stop": Kind(weight=2, draw=_stopped),
    "kill_broker": Kind(weight=1, draw=_nothing),
    "stop_broker": Kind(weight=1, draw=_for_s(1, 6)),
    "kill_broker_store": Kind(weight=1, draw=_nothing),
    "kill_fork_server": Kind(weight=1, draw=_nothing),
    "events": Kind(weight=2, draw=_events),
    "endpoint": Kind(weight=3, draw=_endpoint),
    "clock": Kind(weight=2, draw=_clock),
    "wipe_scratch": Kind(weight=2, draw=_nothing),
    "kill_scratch": Kind(weight=1, draw=_nothing),
    "pause_scratch": Kind(weight=2, draw=_for_s(1, 5)),
    "fill_scratch": Kind(weight=1, draw=_for_s(1, 4)),
    "failover_scratch": Kind(weight=2, draw=_nothing, stores=(POSTGRES,)),
    "fill_disk": Kind(weight=3, draw=_for_s(2, 6), stores=(SQLITE, VALKEY)),
    "cut_postgres": Kind(weight=2, draw=_nothing, stores=(POSTGRES,)),
    "restart_postgres": Kind(weight=2, draw=_postgres_stop, stores=(POSTGRES,)),
    "abort_transactions": Kind(weight=2, draw=_sql_error, stores=(POSTGRES,)),
    "fill_postgres": Kind(weight=1, draw=_for_s(2, 6), stores=(POSTGRES,)),
    "s3_error": Kind(weight=2, draw=_s3_error, stores=(POSTGRES,)),
    "s3_cut": Kind(weight=2, draw=_rate, stores=(POSTGRES,)),
    "fill_s3": Kind(weight=1, draw=_s3_full, stores=(POSTGRES,)),
    "pause_metadata": Kind(weight=2, draw=_for_s(1, 5), stores=(VALKEY,)),
    "kill_metadata": Kind(weight=2, draw=_nothing, stores=(VALKEY,)),
    "fill_metadata": Kind(weight=2, draw=_for_s(2, 6), stores=(VALKEY,)),
}

_SIZES = (1, 3, 40, 150, 400)
_FIRST_S, _LAST_S = 1.0, 14.0  # when faults strike


def schedule(seed: int, *, stores: str | None = None, faults: int = 6) -> Schedule:
    """The round of ``seed``; ``stores`` None: drawn too."""
    random = Random(seed)
    drawn = random.choice(STORES)
    chosen = stores or drawn
    batches = [
        PlannedBatch(
            tenant=random.choice(TENANTS),
            lines=random.choice(_SIZES),
            model=random.choice(MODELS),
            at_s=round(random.uniform(0, 8), 1),
            cancelled=random.random() < 0.15,
        )
        for _ in range(random.randint(4, 7))
    ]
    kinds = {name: kind for name, kind in KINDS.items() if chosen in kind.stores}
    names = random.choices(list(kinds), [kind.weight for kind in kinds.values()], k=faults)
    at = sorted(round(random.uniform(_FIRST_S, _LAST_S), 1) for _ in names)
    strikes = [
        Strike(at_s=when, fault=name, params=kinds[name].draw(random))
        for when, name in zip(at, names, strict=True)
    ]
    return Schedule(
        seed=seed,
        stores=chosen,
        batches=sorted(batches, key=lambda batch: batch.at_s),
        strikes=strikes,
    )
