"""Options that all commands for clusters share."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from batch_gateway.cli.errors import CommandError

if TYPE_CHECKING:
    from batch_gateway.cli.cluster.kube import ClusterClient

DEFAULT_NAMESPACE = "batch-gateway"
_PANEL = "Cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """Which cluster, and where on it."""

    namespace: Annotated[
        str,
        Option(
            "--namespace", "-n", help="Where the service is, or shall be.", rich_help_panel=_PANEL
        ),
    ] = DEFAULT_NAMESPACE
    kubeconfig: Annotated[
        str | None,
        Option(
            metavar="FILE",
            help="Instead of KUBECONFIG or ~/.kube/config.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    context: Annotated[
        str | None,
        Option(help="Of the kubeconfig; default: its current one.", rich_help_panel=_PANEL),
    ] = None

    def cluster(self, *, or_machine: bool = False) -> "ClusterClient":
        """Raises CommandError, with a hint at --data if the command has it (``or_machine``)."""
        from batch_gateway.cli.cluster.kube import ClusterClient, ClusterNotConfigured

        try:
            return ClusterClient(self.namespace, kubeconfig=self.kubeconfig, context=self.context)
        except ClusterNotConfigured as error:
            hint = "; name the folder of `batch-gateway up` with --data" if or_machine else ""
            raise CommandError(f"{error}{hint}", 2) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutOptions:
    """How a deployment is carried out."""

    wait: Annotated[bool, Option("--wait/--no-wait", help="Wait until all of it is ready.")] = True
    timeout: Annotated[float, Option(min=1, help="Longest to wait, in seconds.")] = 600
    force: Annotated[
        bool, Option("--force", help="Take over fields that another client has changed.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterJobOption:
    """Whether a command runs on a cluster, by a Job with the executor's settings."""

    inside: Annotated[
        bool,
        Option(
            "--inside",
            help="Of the service on a cluster, by a Job there with its settings.",
            rich_help_panel=_PANEL,
        ),
    ] = False


def chosen_settings(given: list[str] | None) -> tuple[dict[str, str], dict[str, str]]:
    """``group.field=value`` words as variables: those of the ConfigMap, and secret ones.

    Raises BadParameter for what no setting takes.
    """
    from batch_gateway.cli.batches.options import pairs
    from batch_gateway.cli.settings import secret_variables
    from batch_gateway.local.configuration import checked
    from batch_gateway.local.errors import PlatformError
    from batch_gateway.settings import Settings
    from batch_gateway.settings.spelling import meant, setting_names

    variables = {}
    for setting, value in pairs(given, "--set").items():
        group, dot, name = setting.partition(".")
        fields = Settings.model_fields.get(group)
        if not dot or fields is None or name not in type(fields.default).model_fields:
            raise typer.BadParameter(
                f"there is no setting {setting}{meant(setting, setting_names())}"
            )
        variables[f"BATCH_GATEWAY_{group}__{name}".upper()] = value
    try:
        checked(_COMPLETE | variables, drivers=False)
    except PlatformError as error:
        raise typer.BadParameter(str(error)) from error
    secret = secret_variables()
    return (
        {name: value for name, value in variables.items() if name not in secret},
        {name: value for name, value in variables.items() if name in secret},
    )


#: What the Secret or the overlay has, so that settings which need it can be checked without.
_COMPLETE = {
    "BATCH_GATEWAY_AUTH__SECRET": "there",
    "BATCH_GATEWAY_INFERENCE__HEADER_KEYS": "there",
}
