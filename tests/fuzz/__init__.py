"""Fuzzers of what users and senders of events send: ``make fuzz``, in short in ``make test``."""
