"""Batch Gateway: OpenAI-compatible batches for self-hosted inference, on Knative."""
