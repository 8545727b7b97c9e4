"""API: OpenAI's files and batches over HTTP; the only function with a public route."""

from batch_gateway.wiring.api import api_function

api = api_function()
