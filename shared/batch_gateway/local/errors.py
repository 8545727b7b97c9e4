"""Errors that prevent the start of the embedded platform, each one line for the user."""

from batch_gateway.core.errors import BatchGatewayError


class PlatformError(BatchGatewayError):
    """The platform, or a part of it, cannot start; the message is all that a user needs."""
