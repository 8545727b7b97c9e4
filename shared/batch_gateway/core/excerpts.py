"""Shortens long values for messages."""

LONGEST_EXCERPT = 200  # characters


def excerpt(value: object, most: int = LONGEST_EXCERPT) -> str:
    """``value`` as text of at most ``most`` characters and a note of how many there are."""
    text = str(value)
    if len(text) <= most:
        return text
    return f"{text[:most]}... ({len(text)} characters)"
