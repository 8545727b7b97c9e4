"""API: OpenAI's files and batches over HTTP; the only function with a public route."""

import functions_framework.aio

from batch_gateway.wiring.api import api_function

api = functions_framework.aio.http(api_function())
