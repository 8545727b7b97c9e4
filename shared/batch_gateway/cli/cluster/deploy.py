"""``batch-gateway deploy``: applies the manifests, and waits until everything is ready."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Option

from batch_gateway.cli.cluster.options import ClusterOptions, RolloutOptions, chosen_settings
from batch_gateway.cli.cluster.recording import recorded_change
from batch_gateway.cli.cluster.steps import StepReporter
from batch_gateway.cli.errors import CommandError, report_errors
from batch_gateway.cli.output import JsonLines, print_json

if TYPE_CHECKING:
    from batch_gateway.cli.cluster.apply import PlannedDeployment
    from batch_gateway.cli.cluster.kube import ClusterClient


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentOptions:
    """What is deployed."""

    overlay: Annotated[
        str | None,
        Option(
            help="An overlay of knative/overlays by its name, or a folder with one of yours;"
            " default: the last deployment's, with its options."
        ),
    ] = None
    broker: Annotated[
        Literal["kafka", "rabbitmq", "mt"] | None,
        Option(help="Class of the Broker; default: what the overlay or the cluster says."),
    ] = None
    image: Annotated[str | None, Option(help="Image of the functions, with a tag or a digest.")] = (
        None
    )
    set_: Annotated[
        list[str] | None,
        Option(
            "--set",
            metavar="GROUP.FIELD=VALUE",
            help="A setting, such as inference.url=http://...; may be given several times.",
        ),
    ] = None


@report_errors
def deploy(
    place: ClusterOptions,
    how: RolloutOptions,
    what: DeploymentOptions,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Have the cluster judge everything, and change nothing.")
    ] = False,
    print_: Annotated[
        bool, Option("--print", help="Print the manifests, without secrets, and do nothing.")
    ] = False,
    json: JsonLines = False,
) -> None:
    """Install or change the service on a cluster; the same again changes nothing."""
    plain, secret = chosen_settings(what.set_)
    from batch_gateway.cli.cluster.apply import PlannedDeployment
    from batch_gateway.cli.cluster.build import build, component_there
    from batch_gateway.cli.cluster.secrets import secret_changes

    cluster, steps = None if print_ else place.cluster(), StepReporter(json)
    options: dict[str, Any] = {"broker": what.broker, "image": what.image, "settings": plain}
    overlay = what.overlay
    if overlay is None:
        overlay, options = _as_the_last_time(cluster, options)
    objects = build(overlay, namespace=place.namespace, **options)
    if cluster is None:
        _print(objects, json=json)
        return
    if options["broker"] is None and (there := component_there(cluster, objects)) is not None:
        objects = build(overlay, namespace=place.namespace, **(options | {"broker": there}))
    wanted = PlannedDeployment(
        objects=[obj for obj in objects if obj["kind"] != "Secret"],
        secrets=secret_changes(cluster, objects, secret),
        what=overlay,
        options=options,
        said=plain,
        force=how.force,
        wait=how.wait,
        timeout_s=how.timeout,
    )
    if dry_run:
        _rehearse(cluster, wanted, steps)
        return
    changed = {*plain, *(name for each in wanted.secrets if each.has for name in each.changes)}
    with recorded_change("deployment.deploy", place.namespace, changed):
        finish(cluster, wanted, steps)


def _rehearse(cluster: "ClusterClient", wanted: "PlannedDeployment", steps: StepReporter) -> None:
    """Have the cluster judge a deployment by dry runs. Raises CommandError."""
    from batch_gateway.cli.cluster.apply import dry_run_objects

    unjudged, why = dry_run_objects(cluster, wanted, steps)
    told = f"; {unjudged} objects are not judged: {why}" if unjudged else ""
    steps.end(f"nothing was changed: --dry-run{told}", dry_run=True, not_judged=unjudged)


def finish(cluster: "ClusterClient", wanted: "PlannedDeployment", steps: StepReporter) -> None:
    """Carry a deployment out, wait for it, and say where the service is. Raises CommandError."""
    from batch_gateway.cli.cluster.apply import apply_objects
    from batch_gateway.cli.cluster.rollout import wait_for

    applied = apply_objects(cluster, wanted, steps)
    if wanted.wait:
        wait_for(cluster, applied, wanted.timeout_s)
        url = _address(cluster.get("serving.knative.dev/v1", "Service", "api"))
        told = f"Batch Gateway is ready: {url}" if url else "Batch Gateway is ready"
        steps.end(told, ready=True, url=url)


def _as_the_last_time(
    cluster: "ClusterClient | None", options: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The last deployment's overlay with its options below these; a question the first time.

    Raises CommandError.
    """
    from batch_gateway.cli.cluster.build import overlays
    from batch_gateway.cli.cluster.releases import Releases

    last = None if cluster is None else Releases(cluster).last()
    if last is not None:
        settings = {**last.options.get("settings", {}), **options["settings"]}
        chosen = {name: value for name, value in options.items() if value is not None}
        return last.what, {"broker": None, "image": None, **last.options, **chosen} | {
            "settings": settings
        }
    known = ", ".join(overlays())
    if not sys.stdin.isatty():
        raise CommandError(
            f"which overlay? --overlay trial brings its own stores; others: {known}", 2
        )
    asked = f"Which overlay ({known}; trial brings its own stores)?"
    return str(typer.prompt(asked, err=True)), options


def _print(objects: list[dict[str, object]], *, json: bool) -> None:
    plain = [obj for obj in objects if obj["kind"] != "Secret"]
    if json:
        for obj in plain:
            print_json(obj, indent=None)
        return
    import yaml

    typer.echo(yaml.safe_dump_all(plain, sort_keys=False), nl=False)


def _address(api: dict[str, object] | None) -> str | None:
    """The URL of the API as clients have it; None as long as the cluster has given it none."""
    if api is None:
        raise CommandError("the overlay has no Service api")
    status = api.get("status")
    url = status.get("url") if isinstance(status, dict) else None
    return f"{url}/v1" if url else None
