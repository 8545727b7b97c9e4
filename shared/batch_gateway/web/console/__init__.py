"""The web console at ``/console/``: files of this package that a browser runs.

They use the API as any client does, with a key or token in the ``Authorization`` header. So the
files contain no data of a tenant, and are public.
"""

from batch_gateway.web.console.pages import console

__all__ = ["console"]
