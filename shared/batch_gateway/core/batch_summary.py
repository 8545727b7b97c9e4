"""Summary of a batch: statistics of its calls, and sums per model."""

from typing import Self

import msgspec

from batch_gateway.core.call_statistics import CallStatistics
from batch_gateway.core.engine_values import total
from batch_gateway.core.model import Shard, TokenUsage


class ModelTotals(msgspec.Struct, array_like=True):
    """Sums over the requests that name one model."""

    lines: int = 0
    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def usage(self) -> TokenUsage:
        return TokenUsage(
            input_tokens=self.input_tokens,
            cached_tokens=self.cached_tokens,
            output_tokens=self.output_tokens,
            reasoning_tokens=self.reasoning_tokens,
        )


class BatchSummary(msgspec.Struct, omit_defaults=True):
    """Sums over the shards of a batch."""

    models: dict[str, ModelTotals] = {}
    calls: CallStatistics = msgspec.field(default_factory=CallStatistics)

    def add(self, shard: Shard) -> None:
        """Add what is recorded for a shard."""
        self.add_sums(shard)
        self.calls.merge(CallStatistics.decoded(shard.tally.statistics))

    def add_sums(self, shard: Shard) -> None:
        """The same without the statistics of its calls."""
        known = self.models.setdefault(shard.model, ModelTotals())
        tally, usage = shard.tally, shard.tally.usage
        known.lines += shard.lines
        known.completed += tally.completed
        known.failed += tally.failed
        known.input_tokens = total(known.input_tokens, usage.input_tokens)
        known.cached_tokens = total(known.cached_tokens, usage.cached_tokens)
        known.output_tokens = total(known.output_tokens, usage.output_tokens)
        known.reasoning_tokens = total(known.reasoning_tokens, usage.reasoning_tokens)

    def encoded(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def decoded(cls, text: str) -> Self:
        """What ``encoded`` returned; empty for text that cannot be decoded."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError:
            return cls()
