"""Circuit breakers of endpoints, as one process knows them: ``core.breaker`` with a memory.

They outlive activations: the next one need not find out again that an endpoint is away.
"""

import logging
from datetime import timedelta

from batch_gateway.core import breaker
from batch_gateway.core.routing import Endpoint

logger = logging.getLogger(__name__)


class Circuit:
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._state = breaker.CLOSED

    @property
    def closed(self) -> bool:
        return self._state.closed

    def allows(self, now: float) -> bool:
        """Whether one more call may be started; all ``now`` are ``loop.time()``."""
        return breaker.allows(self._state, now)

    def start(self) -> bool:
        """A call begins; True when it is a trial. To be followed by one of the three below."""
        self._state = breaker.started(self._state)
        return not self._state.closed

    def answered(self) -> None:
        """A call ended in a way that shows the endpoint alive."""
        if not self._state.closed:
            logger.info("%s is back", self._endpoint.name, extra=self._log("closed"))
        self._state = breaker.CLOSED

    def failed(
        self, now: float, *, trial: bool, retry_after: timedelta | None, reason: str
    ) -> None:
        """A call found nobody; the endpoint may have said for how long."""
        was_closed = self._state.closed
        self._state = breaker.failed(
            self._state,
            now,
            self._endpoint.breaker,
            trial=trial,
            asked_s=retry_after.total_seconds() if retry_after else 0.0,
        )
        if was_closed and not self._state.closed:
            logger.warning("%s is away: %s", self._endpoint.name, reason, extra=self._log("opened"))

    def gave_up(self, *, trial: bool) -> None:
        """A call ended otherwise, which says nothing about the endpoint."""
        self._state = breaker.gave_up(self._state, trial=trial)

    def _log(self, event: str) -> dict[str, str]:
        return {"action": f"breaker_{event}", "endpoint": self._endpoint.name}


class Circuits:
    """One circuit per endpoint; a new one when what it calls has changed."""

    def __init__(self) -> None:
        self._circuits: dict[str, tuple[Endpoint, Circuit]] = {}

    def of(self, endpoint: Endpoint) -> Circuit:
        known = self._circuits.get(endpoint.name)
        if known is None or known[0] != endpoint:
            known = self._circuits[endpoint.name] = (endpoint, Circuit(endpoint))
        return known[1]
