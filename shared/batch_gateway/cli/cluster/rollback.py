"""``batch-gateway rollback``: deploys the previous release again, with its settings and images."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from batch_gateway.cli.cluster.deploy import finish
from batch_gateway.cli.cluster.options import ClusterOptions, RolloutOptions
from batch_gateway.cli.cluster.recording import recorded_change
from batch_gateway.cli.cluster.steps import StepReporter
from batch_gateway.cli.errors import report_errors
from batch_gateway.cli.output import JsonLines

if TYPE_CHECKING:
    from batch_gateway.cli.cluster.releases import Release

Object = dict[str, Any]


@report_errors
def rollback(
    place: ClusterOptions,
    how: RolloutOptions,
    to: Annotated[
        int | None, Option(metavar="RELEASE", help="Its number; default: the one before the last.")
    ] = None,
    json: JsonLines = False,
) -> None:
    """Go back to an earlier deployment: its image, its objects, its settings and its secrets.

    Volumes stay. A database that a later release has migrated stays migrated.
    """
    from batch_gateway.cli.cluster.apply import PlannedDeployment
    from batch_gateway.cli.cluster.releases import Releases
    from batch_gateway.cli.cluster.secrets import changes_back

    cluster, steps = place.cluster(), StepReporter(json)
    release, later = Releases(cluster).to_go_back_to(to)
    steps.note(f"back to release {release.number} of {release.at} ({release.what})")
    wanted = PlannedDeployment(
        objects=release.objects,
        secrets=changes_back(cluster, _values_before(later)),
        what=release.what,
        options=release.options,
        force=how.force,
        is_rollback=True,
        wait=how.wait,
        timeout_s=how.timeout,
    )
    kept = {_identity(obj) for obj in release.objects}
    with recorded_change("deployment.rollback", place.namespace):
        finish(cluster, wanted, steps)
        for obj in later[-1].objects if later else ():
            stored = obj["kind"] in ("Namespace", "PersistentVolumeClaim")
            if not stored and _identity(obj) not in kept and cluster.delete(obj):
                steps.object(obj, "deleted")


def _values_before(later: "Sequence[Release]") -> dict[str, dict[str, str | None]]:
    """What the Secrets held before the first of these releases changed it."""
    found: dict[str, dict[str, str | None]] = {}
    for release in reversed(later):
        for name, values in release.replaced.items():
            found.setdefault(name, {}).update(values)
    return found


def _identity(obj: Mapping[str, Any]) -> tuple[str, str, str]:
    return obj["apiVersion"], obj["kind"], obj["metadata"]["name"]
