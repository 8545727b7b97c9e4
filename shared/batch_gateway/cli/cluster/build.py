"""The manifests of a deployment: an overlay of ``knative/``, built by kustomize.

A folder with one kustomization lays the namespace, the image and the broker's component over the
overlay; the settings go into the ConfigMap afterwards. What comes out is what ``kubectl apply -k``
would apply.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from batch_gateway.cli.cluster.kube import ClusterClient
from batch_gateway.cli.errors import CommandError
from batch_gateway.local.errors import PlatformError
from batch_gateway.local.manifests import deployment_root

Object = dict[str, Any]

SETTINGS = "batch-gateway-settings"
SETTINGS_OF = "batchgateway.dev/settings"
#: Everything that we put there bears it, so that it can be found again.
MANAGED_BY = ("app.kubernetes.io/managed-by", "batch-gateway")
CLASS = "eventing.knative.dev/broker.class"
#: Components of ``eventing/`` and the classes that they give a Broker.
BROKERS = {"kafka": "Kafka", "rabbitmq": "RabbitMQBroker", "mt": "MTChannelBasedBroker"}
#: libyaml's where PyYAML was built with it: ten times as fast.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def build(
    overlay: str,
    *,
    namespace: str,
    broker: str | None = None,
    image: str | None = None,
    settings: Mapping[str, str] | None = None,
) -> list[Object]:
    """The objects of ``overlay``, a name or a folder, in the order of their kinds.

    ``broker``: a component of ``eventing/``; ``settings``: variables of the ConfigMap. Raises
    CommandError.
    """
    root = _root()
    folder = overlay_folder(root, overlay)
    layer: dict[str, Any] = {"namespace": namespace}
    if broker is not None:
        _refuse_second_class(folder, overlay, broker)
        layer["components"] = [root / "eventing" / "components" / broker]
    if image is not None:
        layer["images"] = [{"name": _own_image(root), **_parted(image)}]
    objects = _built(folder, layer)
    if image is not None and image not in json.dumps(objects):
        raise CommandError(f"{overlay} does not use the image of the base: name it there")
    if settings:
        _set(objects, settings)
    _mark(objects)
    return objects


def component_there(cluster: ClusterClient, objects: Sequence[Object]) -> str | None:
    """The component of the class that the cluster's Broker has, where ``objects`` name none.

    A class cannot be changed, so the cluster's stands. None: there is nothing to add.
    """
    for obj in objects:
        chosen = (obj["metadata"].get("annotations") or {}).get(CLASS)
        if obj["kind"] == "Broker" and chosen is None and (live := cluster.same(obj)):
            class_ = (live["metadata"].get("annotations") or {}).get(CLASS)
            return next((name for name, its in BROKERS.items() if its == class_), None)
    return None


def overlay_folder(root: Path, overlay: str) -> Path:
    """A folder of the user's, or an overlay of ours by its name. Raises CommandError."""
    for folder in (root / "knative" / "overlays" / overlay, Path(overlay).resolve()):
        if (folder / "kustomization.yaml").is_file():
            return folder
    ours = ", ".join(overlays())
    raise CommandError(f"there is no overlay {overlay}: a folder, or one of {ours}", 2)


def overlays() -> list[str]:
    return sorted(folder.name for folder in (_root() / "knative" / "overlays").iterdir())


def _root() -> Path:
    try:
        return deployment_root()
    except PlatformError as error:
        raise CommandError(str(error)) from error


def _refuse_second_class(folder: Path, overlay: str, broker: str) -> None:
    """An overlay that has chosen a broker does not get another one on top."""
    for obj in _built(folder, {}):
        chosen = (obj["metadata"].get("annotations") or {}).get(CLASS)
        if obj["kind"] == "Broker" and chosen is not None:
            raise CommandError(
                f"the overlay {overlay} has a broker already ({chosen}): leave out --broker"
                f" {broker}, or use the overlay {_with_class(overlay, broker)}",
                2,
            )


def _with_class(overlay: str, broker: str) -> str:
    """An overlay of ours that has that broker, or may be given it."""
    close = f"{overlay.partition('-')[0]}-{broker}"
    return close if close in overlays() else "minimal"


def _own_image(root: Path) -> str:
    base = yaml.safe_load((root / "knative" / "base" / "kustomization.yaml").read_text())
    name: str = base["images"][0]["newName"]
    return name


def _parted(image: str) -> dict[str, str]:
    """An image as kustomize takes it: name, and tag or digest."""
    name, at, digest = image.partition("@")
    if at:
        return {"newName": name, "digest": digest}
    head, colon, tag = image.rpartition(":")
    if colon and "/" not in tag:
        return {"newName": head, "newTag": tag}
    raise CommandError(f"--image needs a tag or a digest: {image}:TAG", 2)


def _built(folder: Path, layer: Mapping[str, Any]) -> list[Object]:
    """What kustomize makes of ``folder`` with ``layer`` on top. Raises CommandError."""
    with tempfile.TemporaryDirectory(prefix="batch-gateway-") as temporary:
        target = folder
        if layer:
            target = Path(temporary).resolve()
            content = {"resources": [_relative(folder, target)], **layer}
            if "components" in layer:
                content["components"] = [_relative(f, target) for f in layer["components"]]
            (target / "kustomization.yaml").write_text(yaml.safe_dump(content))
        done = subprocess.run(
            [_kubectl(), "kustomize", str(target)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise CommandError(f"kustomize: {' '.join(done.stderr.split())}")
    return [obj for obj in yaml.load_all(done.stdout, _LOADER) if obj]


def _relative(folder: Path, base: Path) -> str:
    """kustomize takes folders elsewhere, but only by relative paths."""
    return os.path.relpath(folder.resolve(), base)


def _kubectl() -> str:
    """kubectl of the wheel that is installed with us, or of the PATH. Raises CommandError."""
    ours = Path(sys.executable).with_name("kubectl")
    found = str(ours) if ours.exists() else shutil.which("kubectl")
    if found is None:
        raise CommandError("needs kubectl: pip install 'batch-gateway[cluster]'")
    return found


def _set(objects: Sequence[Object], settings: Mapping[str, str]) -> None:
    for obj in objects:
        if obj["kind"] == "ConfigMap" and obj["metadata"]["name"] == SETTINGS:
            obj.setdefault("data", {}).update(settings)
            return
    raise CommandError(f"the overlay has no ConfigMap {SETTINGS} to put settings into")


def _mark(objects: Sequence[Object]) -> None:
    """Label each object as one of this application."""
    for obj in objects:
        obj["metadata"].setdefault("labels", {})[MANAGED_BY[0]] = MANAGED_BY[1]
