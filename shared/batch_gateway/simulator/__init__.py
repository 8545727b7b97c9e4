"""A model server without a GPU: OpenAI endpoints, latency per token, prefix cache, refusals."""
