"""``report``: summarises a batch as text, JSON or a page of HTML."""
