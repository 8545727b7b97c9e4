"""Settings of webhooks."""

from datetime import timedelta

from pydantic import SecretStr

from batch_gateway.core.webhooks import DeliveryBackoff
from batch_gateway.settings.base import Positive, Seconds, SettingsGroup


class WebhookSettings(SettingsGroup):
    encryption_keys: SecretStr = SecretStr("")
    """Comma-separated keys that encrypt the signing secrets of endpoints, also in responses that
    are stored for an Idempotency-Key. The first key encrypts, all decrypt, so keys can be rotated.
    Empty: secrets are stored in plain text."""
    allow_http: bool = False
    """Whether receivers may be reached without TLS."""
    allow_private: bool = False
    """Whether receivers may be in private networks, such as the cluster's own. Then each tenant
    with an endpoint can direct requests into those networks."""
    most_endpoints: Positive = 50
    """Most endpoints of one tenant."""
    timeout_s: Seconds = 10
    """Timeout of a delivery."""
    backoff_s: Seconds = 10
    """Pause before the second attempt of a delivery; doubles from there. The janitor checks each
    minute while one is due soon, so short pauses may take longer."""
    backoff_max_s: Seconds = 4 * 3600
    """Longest pause."""
    give_up_s: Seconds = 72 * 3600
    """How long a delivery is retried. OpenAI retries for 72 hours."""
    keep_s: Seconds = 30 * 86400
    """How long the log of deliveries is kept. Longer than webhooks.give_up_s."""

    @property
    def backoff(self) -> DeliveryBackoff:
        return DeliveryBackoff(
            first=timedelta(seconds=self.backoff_s),
            longest=timedelta(seconds=self.backoff_max_s),
            give_up=timedelta(seconds=self.give_up_s),
        )
