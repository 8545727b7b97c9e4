"""Circuit breakers of all endpoints in one process.

They outlive activations: the next one need not find out again that an endpoint is unavailable, or
that a batch's calls fail there.
"""

import asyncio
import logging
from datetime import timedelta

from batch_gateway import meters
from batch_gateway.core import breaker
from batch_gateway.core.failing_batches import FailingBatches
from batch_gateway.core.ids import BatchId
from batch_gateway.core.routing import ModelEndpoint

logger = logging.getLogger(__name__)


class EndpointCircuit:
    def __init__(self, endpoint: ModelEndpoint) -> None:
        self._endpoint = endpoint
        self._state = breaker.CLOSED
        self._admitted_at = float("-inf")  # when the newest call began that was let in
        self._answered_at = float("-inf")  # when a call was answered last
        self.batches = FailingBatches(endpoint.breaker)

    @property
    def closed(self) -> bool:
        return self._state.closed

    @property
    def state(self) -> breaker.BreakerState:
        return self._state.state

    def allows(self, now: float) -> bool:
        """Whether one more call may be started; all ``now`` are ``loop.time()``."""
        return breaker.allows(self._state, now)

    def allows_batch(self, batch: BatchId, now: float) -> bool:
        """Whether that call may be one of ``batch``. An open breaker gives each batch its trials
        (in the order of ``batches.failures``), a closed one lets isolated batches wait."""
        return not self.closed or self.batches.allows(batch, now)

    @property
    def unauthorized(self) -> bool:
        """No call is made because the endpoint refuses the deployment's credentials."""
        return not self._state.closed and self._state.unauthorized

    def admitted_since(self, instant: float) -> bool:
        """Whether a call that began after ``instant`` was let in with these credentials."""
        return self._admitted_at > instant

    def batch_arrived(self, batch: BatchId, now: float) -> None:
        """Calls of ``batch`` may be made from now on. If it has not failed here, its first trial
        call need not wait for the end of the pause, which the failures of others have made long."""
        if self.batches.failures(batch) == (0, 0):
            self._state = breaker.retry_from(self._state, now)

    def start(self, batch: BatchId) -> bool:
        """A call of ``batch`` begins; True when it is a trial of the endpoint. To be followed by
        one of the three below."""
        now = asyncio.get_running_loop().time()
        if self._state.closed:
            self.batches.started(batch, now)
            return False
        self._state = breaker.started(self._state, now, self._endpoint.breaker)
        return not self._state.closed

    def answered(self, *, admitted_at: float | None = None) -> None:
        """A call ended in a way that shows the endpoint alive.

        ``admitted_at``: when it began, if the answer also shows that the credentials are good.
        """
        if admitted_at is not None:
            self._admitted_at = max(self._admitted_at, admitted_at)
        elif self._state.unauthorized and not self._state.closed:
            return  # a full proxy has not checked the key
        if not self._state.closed:
            logger.info("%s is available again", self._endpoint.name, extra=self._log("closed"))
        self._state = breaker.CLOSED

    def batch_answered(self, batch: BatchId, now: float) -> None:
        """A call of ``batch`` ended with an answer to its request."""
        self._answered_at = now
        for isolated in self.batches.answered(batch, now):
            meters.BATCHES_ISOLATED.labels(self._endpoint.name).inc()
            logger.warning(
                "%s answers none of the calls of %s, but those of other batches: one call at a "
                "time tries whether that has changed",
                self._endpoint.name,
                isolated,
                extra={**self._log("isolated"), "batch_id": isolated},
            )

    def batch_failed(
        self, batch: BatchId, now: float, *, started_at: float, failed_before: float | None
    ) -> bool:
        """A call of ``batch`` was not answered; ``failed_before``: when its line failed last.

        Returns whether that is evidence about the endpoint. It is not if only this batch or this
        line fails, while others are answered.
        """
        shows_endpoint = self.batches.failed(batch, now, started_at=started_at)
        line_alone = failed_before is not None and self._answered_at > failed_before
        return not self.closed or (shows_endpoint and not line_alone)

    def failed(
        self,
        now: float,
        *,
        trial: bool,
        retry_after: timedelta | None,
        reason: str,
        unauthorized: bool = False,
    ) -> None:
        """A call was not answered or was refused; the endpoint may have sent a Retry-After."""
        was = self._state
        self._state = breaker.failed(
            self._state,
            now,
            self._endpoint.breaker,
            trial=trial,
            asked_s=retry_after.total_seconds() if retry_after else 0.0,
            unauthorized=unauthorized,
        )
        if self.unauthorized:
            if self._state != was:
                meters.ENDPOINT_UNAUTHORIZED.labels(self._endpoint.name).inc()
            if was.closed or not was.unauthorized:
                logger.error(
                    "%s refuses the configured credentials (%s): its lines wait until it takes "
                    "them; check api_key_file, api_key_env or inference.api_key",
                    self._endpoint.name,
                    reason,
                    extra=self._log("unauthorized"),
                )
        elif was.closed and not self._state.closed:
            logger.warning(
                "%s is unavailable: %s", self._endpoint.name, reason, extra=self._log("opened")
            )

    def gave_up(self, *, trial: bool) -> None:
        """A call ended otherwise: no evidence about the endpoint."""
        if self._state.closed:
            return
        now = asyncio.get_running_loop().time()
        self._state = breaker.gave_up(self._state, now, trial=trial)

    def _log(self, event: str) -> dict[str, str]:
        return {"action": f"breaker_{event}", "endpoint": self._endpoint.name}


class EndpointCircuits:
    """One circuit per endpoint; a new one when what it calls has changed."""

    def __init__(self) -> None:
        self._circuits: dict[str, tuple[ModelEndpoint, EndpointCircuit]] = {}

    def of(self, endpoint: ModelEndpoint) -> EndpointCircuit:
        known = self._circuits.get(endpoint.name)
        if known is None or known[0] != endpoint:
            known = self._circuits[endpoint.name] = (endpoint, EndpointCircuit(endpoint))
        return known[1]
