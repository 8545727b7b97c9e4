"""Checks the settings of a deployment before it is applied."""

from collections.abc import Mapping, Sequence
from typing import Any

from batch_gateway.cli.cluster.pod_sources import Contents, environment_of, pod_sources
from batch_gateway.cli.errors import CommandError
from batch_gateway.local.configuration import checked
from batch_gateway.local.errors import PlatformError

Object = Mapping[str, Any]


def require_settings(objects: Sequence[Object], contents: Contents) -> None:
    """Raise CommandError with a line for each wrong setting of the Services among ``objects``.

    All settings of each are judged, though a function starts when those are right that it reads.
    A Service with a ConfigMap or Secret that ``contents`` lacks is not judged: it comes later, or
    this user may not read it.
    """
    found: dict[str, None] = {}
    for obj in objects:
        if (obj["apiVersion"], obj["kind"]) != ("serving.knative.dev/v1", "Service"):
            continue
        variables = [source for source in pod_sources(obj) if source.container == 0]
        if any((source.kind, source.name) not in contents for source in variables):
            continue
        try:
            checked(environment_of(obj, contents), drivers=False)
        except PlatformError as wrong:
            found |= dict.fromkeys(str(wrong).splitlines())
    if found:
        raise CommandError("nothing was changed: " + "\n  ".join(found))
