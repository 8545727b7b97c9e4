"""How those who want to hear of their batches are told."""

from datetime import timedelta

from pydantic import SecretStr

from batch_gateway.core.webhooks import Backoff
from batch_gateway.settings.base import Group, Positive, Seconds


class Webhooks(Group):
    encryption_keys: SecretStr = SecretStr("")
    """Comma-separated keys that the endpoints' signing secrets are stored under, also in answers
    that are kept for an Idempotency-Key; the first seals, all open, so keys can be rotated. Empty:
    secrets are stored as they are."""
    allow_http: bool = False
    """Whether receivers may be reached without TLS."""
    allow_private: bool = False
    """Whether receivers may be in private networks, such as the cluster's own. Then each tenant
    with an endpoint can direct requests into those networks."""
    most_endpoints: Positive = 50
    """Most endpoints of one tenant."""
    timeout_s: Seconds = 10
    """How long a receiver may take to acknowledge."""
    backoff_s: Seconds = 10
    """Pause before the second attempt of a delivery; doubles from there. The janitor looks each
    minute while one is due soon, so short pauses may take longer."""
    backoff_max_s: Seconds = 4 * 3600
    """Longest pause."""
    give_up_s: Seconds = 72 * 3600
    """How long a delivery is tried. OpenAI's are 72 hours."""
    keep_s: Seconds = 30 * 86400
    """How long the log of deliveries is kept. Longer than a delivery is tried."""

    @property
    def backoff(self) -> Backoff:
        return Backoff(
            first=timedelta(seconds=self.backoff_s),
            longest=timedelta(seconds=self.backoff_max_s),
            give_up=timedelta(seconds=self.give_up_s),
        )
