"""Time budgets that derive from the longest call of a model.

A cluster bounds how long a request may be open, this machine does not. So the executor's budgets,
the time-out of its Service and that of the events that wake it are as long as the longest
``timeout_s`` of the routes needs, unless the configuration sets it.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import yaml

from batch_gateway.local.errors import PlatformError
from batch_gateway.local.resources import ParsedManifests
from batch_gateway.settings import Settings
from batch_gateway.settings.routes import WrongRoutes, checked_routes
from batch_gateway.settings.work import budget_problem

HARD = "BATCH_GATEWAY_EXECUTION__HARD_BUDGET_S"
_EXECUTOR = "executor"
_RETURN_S = 60.0  # after the hard budget, to store results and hand shards back


def longest_call_s(settings: Settings, root: Path) -> float:
    """The longest ``timeout_s`` that the configuration names, in seconds; 0: it names none.

    ``root`` is the folder that the functions run in. Raises PlatformError when the routing file
    cannot be used: file, key, value and what is allowed, a line for each wrong value.
    """
    inference = settings.inference
    if inference.routes is None:
        return inference.timeout_s if "timeout_s" in inference.model_fields_set else 0.0
    path = root / inference.routes
    try:
        routes = checked_routes(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise PlatformError(f"inference.routes: cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        text = " ".join(str(error).split())
        raise PlatformError(f"inference.routes: {path} is not YAML: {text}") from error
    except WrongRoutes as error:
        lines = (f"inference.routes: {path}: {problem}" for problem in error.problems)
        raise PlatformError("\n".join(lines)) from error
    return routes.longest_call[1]


def fitted(environment: Mapping[str, str], settings: Settings, root: Path) -> dict[str, str]:
    """Variables that are to be added so that the longest call fits. Raises PlatformError."""
    longest = longest_call_s(settings, root)
    execution = settings.execution
    if HARD in environment:
        if (wrong := budget_problem(execution, longest)) is not None:
            raise PlatformError(wrong)
        return {}
    needed = execution.soft_budget_s + longest
    return {HARD: str(needed)} if needed > execution.hard_budget_s else {}


def extended(deployment: ParsedManifests, hard_budget_s: float) -> ParsedManifests:
    """``deployment`` in which the executor's requests may last as long as its hard budget."""
    least = hard_budget_s + _RETURN_S
    services = [
        replace(
            service,
            timeout_s=max(service.timeout_s, least),
            response_start_timeout_s=max(service.response_start_timeout_s, least),
        )
        if service.name == _EXECUTOR
        else service
        for service in deployment.services
    ]
    triggers = [
        replace(
            trigger,
            delivery=replace(
                trigger.delivery, timeout_s=max(trigger.delivery.timeout_s or 0.0, least)
            ),
        )
        if trigger.subscriber.name == _EXECUTOR
        else trigger
        for trigger in deployment.triggers
    ]
    return replace(deployment, services=services, triggers=triggers)
