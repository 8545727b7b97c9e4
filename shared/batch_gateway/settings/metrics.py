"""Settings of the metrics page."""

from pydantic import SecretStr

from batch_gateway.settings.base import Count, SettingsGroup


class MetricsSettings(SettingsGroup):
    token: SecretStr | None = None
    """Bearer token that /metrics requires; None: the page is closed on the API, and open on
    functions that only the cluster reaches and wherever auth.kind is none."""
    tenants: Count = 20
    """Maximum number of tenants with their own metrics of open batches; the others are one sum. 0:
    none."""
