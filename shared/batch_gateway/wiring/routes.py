"""Opens the routes that the settings name: a file that may change, or one endpoint."""

from batch_gateway.services.routing import OneEndpoint, Routes
from batch_gateway.settings import Settings


def open_routes(settings: Settings) -> Routes:
    """Raises ValueError when the routing file cannot be used."""
    inference = settings.inference
    if inference.routes is None:
        return OneEndpoint(inference)
    from batch_gateway.adapters.routing_file import RoutingFile

    return RoutingFile(inference.routes, objective=inference.objective)
