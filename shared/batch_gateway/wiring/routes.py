"""Opens the routes of the settings, and the encryption of passed headers."""

from batch_gateway.ports.routing import RouteProvider
from batch_gateway.services.header_passthrough import HeaderPassthrough
from batch_gateway.services.routing import SingleEndpointRouteProvider
from batch_gateway.settings import Settings, calls_endpoints
from batch_gateway.wiring.stores import separate_keys


def open_routes(settings: Settings) -> RouteProvider:
    """Without keys for a function that sends no requests to endpoints.

    Raises ValueError when the routing file cannot be used.
    """
    inference, keys = settings.inference, calls_endpoints(settings)
    if inference.routes is None:
        return SingleEndpointRouteProvider(inference, keys=keys)
    from batch_gateway.adapters.routing_file import RoutingFile

    return RoutingFile(
        inference.routes,
        objective=inference.objective,
        hard_budget_s=settings.execution.hard_budget_s,
        keys=keys,
    )


def open_header_passthrough(settings: Settings) -> HeaderPassthrough | None:
    """None: no header is carried on."""
    keys = separate_keys(settings.inference.header_keys)
    if not keys:
        return None
    from batch_gateway.adapters.sealing import FernetSealer

    return HeaderPassthrough(FernetSealer(keys))
