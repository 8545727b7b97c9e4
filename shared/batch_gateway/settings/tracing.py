"""Settings of traces."""

from batch_gateway.settings.base import Count, SettingsGroup


class TracingSettings(SettingsGroup):
    enabled: bool = False
    """Send spans to an OpenTelemetry collector; needs the extra otel. The variables of
    OpenTelemetry's SDK, such as OTEL_SERVICE_NAME and OTEL_TRACES_SAMPLER, are respected."""
    endpoint: str | None = None
    """Base URL of the collector, OTLP over HTTP, such as http://otel-collector:4318; None: the
    value of OTEL_EXPORTER_OTLP_ENDPOINT, else http://localhost:4318."""
    requests_per_shard: Count = 5
    """Maximum number of calls with a span in one lease of a shard, and of stores of results; the
    calls are spread over its lines. 0: none."""
