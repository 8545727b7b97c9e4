"""Trigger filters: select the events of a Trigger.

The legacy ``filter.attributes`` form is exact matching too, where an empty value means that the
attribute is present at all. CESQL is not supported and refused at start.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Attributes = Mapping[str, str]
Predicate = Callable[[Attributes], bool]


def compiled(filters: Sequence[Mapping[str, Any]]) -> Predicate:
    """A predicate that holds when all ``filters`` hold. Raises ValueError."""
    predicates = [_predicate(filter_) for filter_ in filters]
    return lambda attributes: all(predicate(attributes) for predicate in predicates)


def _predicate(filter_: Mapping[str, Any]) -> Predicate:
    if len(filter_) != 1:
        raise ValueError(f"a filter has exactly one dialect: {filter_!r}")
    ((dialect, operand),) = filter_.items()
    match dialect:
        case "attributes":
            return _each(operand, lambda value, wanted: wanted in ("", value))
        case "exact":
            return _each(operand, lambda value, wanted: value == wanted)
        case "prefix":
            return _each(operand, lambda value, wanted: value.startswith(wanted))
        case "suffix":
            return _each(operand, lambda value, wanted: value.endswith(wanted))
        case "all":
            return compiled(operand)
        case "any":
            alternatives = [_predicate(alternative) for alternative in operand]
            return lambda attributes: any(holds(attributes) for holds in alternatives)
        case "not":
            negated = _predicate(operand)
            return lambda attributes: not negated(attributes)
    raise ValueError(f"unknown filter dialect {dialect!r}")


def _each(wanted: Mapping[str, str], holds: Callable[[str, str], bool]) -> Predicate:
    """All named attributes are present and satisfy ``holds(value, wanted)``."""
    items = list(wanted.items())
    return lambda attributes: all(
        name in attributes and holds(attributes[name], value) for name, value in items
    )
