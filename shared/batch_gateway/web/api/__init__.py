"""The REST API: OpenAI's files and batches over HTTP."""

from batch_gateway.web.api.app import ApiGuards, ApiServices, api_app

__all__ = ["ApiGuards", "ApiServices", "api_app"]
