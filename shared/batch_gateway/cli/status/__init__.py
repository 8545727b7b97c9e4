"""``batch-gateway status``."""
