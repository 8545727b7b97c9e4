"""Scopes: the operations that an API key permits."""

from collections.abc import Iterable
from enum import StrEnum


class AccessScope(StrEnum):
    READ = "read"  # look at the tenant's files, batches, results and usage
    SUBMIT = "submit"  # create, change and delete them
    OPERATE = "operate"  # the operators' API: the service as a whole, and all tenants


DEFAULT_SCOPES = frozenset({AccessScope.READ, AccessScope.SUBMIT})
ALL_SCOPES = frozenset(AccessScope)


def ordered(scopes: Iterable[AccessScope]) -> list[str]:
    """Their names, from the weakest to the strongest."""
    given = frozenset(scopes)
    return [scope.value for scope in AccessScope if scope in given]
