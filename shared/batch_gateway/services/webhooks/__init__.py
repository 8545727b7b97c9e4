"""Webhooks: endpoints of tenants, deliveries, and the notifier."""
