"""Descriptions and examples of all objects and fields of the API, for ``/openapi.json``.

Read only when the document is requested, so a start of the api does not pay for it. A test demands
a text and an example for every field, and holds the examples against their own schemas.
"""

from batch_gateway.web.api.descriptions import admin, batches, files, usage, webhooks
from batch_gateway.web.api.descriptions.about import Objects

OBJECTS: Objects = (
    admin.OBJECTS | batches.OBJECTS | files.OBJECTS | usage.OBJECTS | webhooks.OBJECTS
)
