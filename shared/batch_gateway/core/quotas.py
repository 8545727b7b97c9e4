"""Quotas of a tenant, and its usage."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUsage:
    """What a tenant has, or what is added to it."""

    files: int = 0  # uploaded and produced ones
    stored_bytes: int = 0  # of those files
    open_batches: int = 0  # that have not ended
    queued_requests: int = 0  # of those batches, once they are planned


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """The most of each; 0: any number."""

    files: int = 0
    stored_bytes: int = 0
    open_batches: int = 0
    queued_requests: int = 0

    def exceeded(self, then: QuotaUsage, added: QuotaUsage) -> str | None:
        """What there would be too much of; None when all is well.

        Only what is added is looked at: a tenant beyond one quota may still use more of another.
        """
        limits, after, more = asdict(self), asdict(then), asdict(added)
        return next(
            (name for name in limits if more[name] > 0 and 0 < limits[name] < after[name]), None
        )


NO_QUOTAS = Quotas()
