"""``batch-gateway deploy``: the manifests onto a cluster, until all of it is ready."""

from typing import Annotated, Literal

import typer
from typer import Option

from batch_gateway.cli.cluster.options import (
    DEFAULT_NAMESPACE,
    Context,
    Kubeconfig,
    Namespace,
    chosen_settings,
    connect,
)
from batch_gateway.cli.failing import CommandError, reported


@reported
def deploy(
    overlay: Annotated[
        str,
        Option(help="An overlay of knative/overlays by its name, or a folder with one of yours."),
    ] = "minimal",
    broker: Annotated[
        Literal["kafka", "rabbitmq", "mt"] | None,
        Option(help="Class of the Broker; default: what the overlay or the cluster says."),
    ] = None,
    image: Annotated[
        str | None, Option(help="Image of the functions, with a tag or a digest.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        Option(
            "--set",
            metavar="GROUP.FIELD=VALUE",
            help="A setting, such as inference.url=http://...; may be given several times.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Have the cluster judge everything, and change nothing.")
    ] = False,
    print_: Annotated[
        bool, Option("--print", help="Print the manifests, without secrets, and do nothing.")
    ] = False,
    wait: Annotated[bool, Option("--wait/--no-wait", help="Wait until all of it is ready.")] = True,
    timeout: Annotated[float, Option(min=1, help="Longest to wait, in seconds.")] = 600,
    force: Annotated[
        bool, Option("--force", help="Take over fields that somebody else has changed.")
    ] = False,
    namespace: Namespace = DEFAULT_NAMESPACE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Install or change the service on a cluster; the same again changes nothing."""
    plain, secret = chosen_settings(set_)
    from batch_gateway.cli.cluster.apply import apply_all
    from batch_gateway.cli.cluster.build import build
    from batch_gateway.cli.cluster.rollout import wait_for

    objects = build(overlay, namespace=namespace, broker=broker, image=image, settings=plain)
    if print_:
        _print(objects)
        return
    cluster = connect(namespace, kubeconfig, context)
    apply_all(cluster, objects, given=secret, force=force, dry_run=dry_run, said=typer.echo)
    if dry_run:
        typer.echo("nothing was changed: --dry-run")
        return
    if wait:
        wait_for(cluster, objects, timeout)
        typer.echo(_where(cluster.get("serving.knative.dev/v1", "Service", "api")))


def _print(objects: list[dict[str, object]]) -> None:
    import yaml

    plain = [obj for obj in objects if obj["kind"] != "Secret"]
    typer.echo(yaml.safe_dump_all(plain, sort_keys=False), nl=False)


def _where(api: dict[str, object] | None) -> str:
    if api is None:
        raise CommandError("the overlay has no Service api")
    status = api.get("status")
    url = status.get("url") if isinstance(status, dict) else None
    return f"Batch Gateway is ready: {url}/v1" if url else "Batch Gateway is ready"
