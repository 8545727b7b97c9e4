"""Behaviour of a simulated model; every field can be changed while it runs."""

from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta

Duration = Annotated[float, Meta(ge=0)]
Rate = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]

Fault = Literal["429", "503", "500", "timeout", "disconnect", "cut", "malformed", "hostile"]
"""429, 503, 500: that status. timeout: never an answer. disconnect: closed before the first byte.
cut: closed in the middle of the answer. malformed: 200 with a body that is not JSON.
hostile: bytes that no client should trust, drawn from the seed: see ``simulator.hostile``."""


class SimulatorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Behaviour of the simulator. Each model has its own slots, queue and cache, like an engine
    of its own. Make one with ``checked``: the constructor does not look at the values."""

    models: Annotated[tuple[str, ...], Meta(min_length=1)] = ("sim-large", "sim-small")
    ttft_ms: Duration = 50.0  # time to first token of an idle engine and an empty prompt
    tpot_ms: Duration = 5.0  # time per output token after the first
    prefill_us_per_token: Duration = 20.0  # per prompt token that is not in the prefix cache
    slots: Positive = 64  # requests that run at once, per model
    queue: Count | None = None  # requests that may wait, per model; None: any, like a plain engine
    priority: bool = False  # True: smallest `priority` of the body first; False: first come
    kv_blocks: Count = 16384  # prefix cache in blocks of 16 tokens, per model; 0: none
    output_tokens: Positive = 32  # mean length of answers; max_tokens cuts them
    shed_at: Positive | None = (
        None  # requests with an inference objective are refused from that many
    )
    # in the model on, as a router sheds batch work before it queues; None: never
    metrics: bool = True  # False: /metrics is not found, as behind many a router
    refuse_status: Literal[429, 503] = 429  # the answer when slots and queue are full
    retry_after_s: Duration | None = None  # Retry-After of refusals; None: no such header
    fault_rate: Rate = 0.0  # share of the requests that meet a fault
    fault_kinds: Annotated[tuple[Fault, ...], Meta(min_length=1)] = ("503",)  # equally likely
    fault_match: str | None = None  # only requests whose body has this text; None: all
    fault_attempts: Positive | None = None  # faults per distinct body; None: no bound
    seed: int = 0  # of the faults
    speed_up: Annotated[float, Meta(gt=0)] = 1.0  # divides all durations

    @classmethod
    def checked(cls, **fields: Any) -> Self:
        """A config of the given fields. Raises ValueError that names the wrong one."""
        return msgspec.convert(fields, cls)

    def changed(self, fields: dict[str, Any]) -> Self:
        """A copy with some fields replaced. Raises ValueError that names the wrong one."""
        return msgspec.convert({**msgspec.structs.asdict(self), **fields}, type(self))

    def seconds(self, *, milliseconds: float = 0.0, microseconds: float = 0.0) -> float:
        """A simulated duration as real seconds."""
        return (milliseconds / 1e3 + microseconds / 1e6) / self.speed_up
