"""``report``: how a batch went, as text, JSON or a page of HTML."""
