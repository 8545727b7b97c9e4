"""Options of the embedded platform."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batch_gateway.local.configuration import Groups


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformOptions:
    """The defaults are those of ``batch-gateway up``."""

    host: str = "127.0.0.1"
    port: int = 8080  # 0: any free one
    broker_port: int = 0  # 0: any free one
    triggers: Sequence[Path] = ()  # files with further Triggers, for subscribers on this machine
    data: Path | None = None  # None: a temporary folder, removed at the end
    inference_url: str | None = None  # None: as configured
    simulator: bool = False  # start a model simulator and send requests there
    simulator_args: Sequence[str] = ()  # further words of its command line
    config: Path | None = None  # YAML file with groups of settings
    settings: Groups = field(default_factory=dict)  # wins over everything else, as flags do
    root: Path | None = None  # folder of knative/ and eventing/; None: the installation's own
    first_install: bool = False
    """Start like a cluster on which the manifests are applied for the first time: see
    ``local.installation``. False: like one on which they are installed already."""
    install_s: float = 120.0  # how long a first installation may take
    speed_up: float = 1.0
    faults: bool = False  # whether ``Platform.set_faults`` may be used
    most_replicas: int | None = None  # of one Service; None: as many as there are processor cores
    stop_grace_s: float = 10.0  # how long functions may take to stop
