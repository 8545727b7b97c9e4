"""Webhooks: endpoints that tenants manage, what they are to hear, and its delivery."""
