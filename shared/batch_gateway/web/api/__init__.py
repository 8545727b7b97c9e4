"""The REST API: OpenAI's files and batches over HTTP."""

from batch_gateway.web.api.app import api_app

__all__ = ["api_app"]
