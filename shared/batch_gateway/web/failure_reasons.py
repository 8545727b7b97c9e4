"""The reason of a failed event, as one line of plain text in the response.

Brokers copy the body of a failing answer into the dead letter (extension ``knativeerrordata``,
1,024 bytes of base64, so 768 bytes of text). The body of a 2xx answer would be taken for a reply
event.
"""

import logging
import re

from starlette.responses import Response

from batch_gateway.core.errors import BatchGatewayError

logger = logging.getLogger(__name__)

#: Longest reason, in bytes of UTF-8; below the 768 that brokers keep.
MAX_BYTES = 500

_CREDENTIALS = re.compile(r"(?<=://)[^\s/@]+@")


def reason_of(error: BaseException) -> str:
    """``error`` in one line, without the credentials of URLs.

    Of a foreign exception only the type is shown: its message may contain secrets.
    """
    if not isinstance(error, BatchGatewayError):
        return f"crashed: {type(error).__name__}"
    return one_line(str(error) or type(error).__name__)


def one_line(text: str) -> str:
    """``text`` without credentials, line breaks and control characters, cut to ``MAX_BYTES``."""
    plain = _CREDENTIALS.sub("***@", " ".join(text.split()))
    plain = "".join(character for character in plain if character.isprintable())
    return plain.encode()[:MAX_BYTES].decode(errors="ignore")


def not_ready(name: str, error: BatchGatewayError) -> Response:
    """The answer of the function ``name`` to an event that comes before its stores have answered.

    Brokers deliver it again.
    """
    logger.warning("Not ready for an event: %s", error, extra={"action": "unavailable"})
    return answer(503, f"{name}: {reason_of(error)}")


def answer(status: int, reason: str) -> Response:
    """The response to an event; every status except 2xx has a reason."""
    if 200 <= status < 300:
        return Response(status_code=status)
    return Response(one_line(reason), status_code=status, media_type="text/plain")
