"""What keeps the embedded platform from starting, told in one line for its user."""

from batch_gateway.core.errors import BatchGatewayError


class PlatformError(BatchGatewayError):
    """The platform, or a part of it, cannot start; the message is all that a user needs."""
