"""``batch-gateway doctor``: checks stores, settings and cluster, and prints a fix per problem."""

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from batch_gateway.cli.cluster.options import ClusterOptions
from batch_gateway.cli.errors import BAD_END, CommandError, report_errors
from batch_gateway.cli.metadata_settings import LocalPlatformOption
from batch_gateway.cli.tables import print_text

if TYPE_CHECKING:
    from pathlib import Path

    from batch_gateway.cli.cluster.kube import ClusterClient
    from batch_gateway.cli.doctor.findings import DoctorFinding


@report_errors
def doctor(
    machine: LocalPlatformOption,
    place: ClusterOptions,
    stores: Annotated[
        bool,
        Option("--stores", help="Check the servers that this environment's settings name instead."),
    ] = False,
    inside: Annotated[
        bool,
        Option("--inside", help="Also check the stores, by a Job in the cluster that looks once."),
    ] = False,
    json: Annotated[bool, Option("--json", help="Print each finding as a line of JSON.")] = False,
    verbose: Annotated[
        bool, Option("--verbose", "-v", help="Also print what is as it should be.")
    ] = False,
) -> None:
    """Check a cluster, its stores or a folder of `up`; each finding comes with the fix."""
    from batch_gateway.cli.doctor.findings import Severity, spelled, worst

    if machine.data is not None:
        found = _of_machine(machine.data)
    else:
        found = (
            _of_stores() if stores else _of_cluster(place.cluster(or_machine=True), inside=inside)
        )
    found.sort(key=lambda finding: -finding.severity)
    for finding in found:
        if json:
            typer.echo(spelled(finding))
        elif finding.severity is not Severity.OK or verbose:
            print_text(f"{finding.severity.name.lower():8} {finding.what}")
            if finding.fix:
                print_text(f"{'':8} -> {finding.fix}")
    if not json:
        counts = {s: sum(f.severity is s for f in found) for s in reversed(Severity)}
        typer.echo(", ".join(f"{n} {s.name.lower()}" for s, n in counts.items()))
    if worst(found) is Severity.ERROR:
        raise CommandError("there are problems to fix", BAD_END)


def _of_machine(data: "Path") -> "list[DoctorFinding]":
    from batch_gateway.cli.doctor.machine import check_folder

    return asyncio.run(check_folder(data))


def _of_stores() -> "list[DoctorFinding]":
    from batch_gateway.cli.doctor.findings import error
    from batch_gateway.cli.doctor.stores import check_stores
    from batch_gateway.local.configuration import checked, from_environment
    from batch_gateway.local.errors import PlatformError

    try:
        settings = checked(from_environment())
    except PlatformError as wrong:
        return [error(str(wrong), "correct the environment's BATCH_GATEWAY_ variables")]
    return asyncio.run(check_stores(settings))


def _of_cluster(cluster: "ClusterClient", *, inside: bool) -> "list[DoctorFinding]":
    from batch_gateway.cli.cluster import fixes
    from batch_gateway.cli.doctor import platform, service
    from batch_gateway.cli.doctor.findings import error
    from batch_gateway.local.configuration import checked
    from batch_gateway.local.errors import PlatformError

    found: list[DoctorFinding] = []
    services = cluster.list(service.SERVING, "Service")
    checks: list[Callable[[], Iterable[DoctorFinding]]] = [
        lambda: platform.check_kubernetes(cluster),
        lambda: platform.check_clock(cluster),
        lambda: platform.check_knative(cluster),
        lambda: platform.check_scale_to_zero(cluster),
    ]
    if services:
        variables = service.variables_of(cluster, services)
        checks += [
            lambda: platform.check_features(cluster, services),
            lambda: service.check_objects(cluster, services),
            lambda: service.check_broker(cluster, variables),
            lambda: service.check_settings(cluster, variables),
        ]
        try:
            settings = checked(variables, drivers=False)
        except PlatformError:
            pass  # told by check_settings
        else:
            checks.append(lambda: service.check_scales(cluster, settings, services))
    else:
        where = f"in the namespace {cluster.namespace}"
        what = f"there is no Batch Gateway {where}"
        found.append(error(what, fixes.deploy_first(cluster)))
    for check in checks:
        found += check()
    if inside:
        from batch_gateway.cli.doctor.inside import findings_inside

        if any(s["metadata"]["name"] == "executor" for s in services):
            found += findings_inside(cluster)
    return found
