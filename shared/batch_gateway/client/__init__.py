"""Typed helpers over the OpenAI SDK: whole jobs in one call, and what this service adds.

``BatchClient`` works on an ``openai.OpenAI``, ``AsyncBatchClient`` on an ``openai.AsyncOpenAI``;
both have the same methods. ``run`` makes batches of any number of requests, waits for them and
yields a result for each request in the requests' order; the same call again continues where the
batches are.

    from batch_gateway.client import BatchClient, chat

    with BatchClient() as batches:
        for result in batches.run(chat("sim-large", question) for question in questions):
            print(result.custom_id, result.text)
"""

try:
    import openai as _openai
except ImportError as error:
    raise ImportError("batch_gateway.client needs the OpenAI SDK: pip install openai") from error

from batch_gateway.client.asynchronous import AsyncBatchClient, AsyncResults
from batch_gateway.client.errors import BatchFailed, ClientError, RequestFailed
from batch_gateway.client.requests import Request, chat, embedding
from batch_gateway.client.results import RequestStatus, Result, ResultError
from batch_gateway.client.synchronous import BatchClient, Results

del _openai

__all__ = [
    "AsyncBatchClient",
    "AsyncResults",
    "BatchClient",
    "BatchFailed",
    "ClientError",
    "Request",
    "RequestFailed",
    "RequestStatus",
    "Result",
    "ResultError",
    "Results",
    "chat",
    "embedding",
]
