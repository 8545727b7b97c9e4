"""When a function calls itself ready."""

from batch_gateway.settings.base import Group, Seconds


class Probes(Group):
    tolerance_s: Seconds = 10.0
    """How long a store may be away before a function that has been ready says that it is not any
    more. A restart of Redis should not take every pod out of service."""
