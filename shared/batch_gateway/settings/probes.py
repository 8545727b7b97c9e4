"""Settings of readiness."""

from batch_gateway.settings.base import Group, Seconds


class Probes(Group):
    tolerance_s: Seconds = 10.0
    """How long a store may be unavailable before a ready function becomes unready. A restart of
    Redis should not make every pod unready."""
