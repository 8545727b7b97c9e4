"""Wall clocks that jump, for each Service by itself, without a word in the product's code.

The processes of a copy of the manifests find ``preload/sitecustomize.py`` on their path, which
Python runs at their start.
"""

import os
import shutil
from pathlib import Path

import yaml

from batch_gateway.local.manifests import deployment_root

_FOLDERS = ("knative", "eventing", "functions")
_PRELOAD = Path(__file__).parent / "preload"


class Clocks:
    def __init__(self, folder: Path) -> None:
        """``folder`` gets a file for each Service."""
        folder.mkdir()
        self._folder = folder

    def manifests(self, root: Path) -> Path:
        """A copy of the manifests in the new folder ``root``, whose processes have these clocks."""
        search = [str(_PRELOAD), *filter(None, [os.environ.get("PYTHONPATH")])]
        variables = {"PYTHONPATH": os.pathsep.join(search), "CHAOS_CLOCKS": self._folder}
        for name in _FOLDERS:
            shutil.copytree(deployment_root() / name, root / name)
        for path in (root / "knative" / "base").glob("*.yaml"):
            documents = [document for document in yaml.safe_load_all(path.read_text()) if document]
            services = [document for document in documents if _is_service(document)]
            for document in services:
                (container,) = document["spec"]["template"]["spec"]["containers"]
                container.setdefault("env", []).extend(
                    {"name": name, "value": str(value)} for name, value in variables.items()
                )
                self.set(document["metadata"]["name"], 0)
            if services:
                path.write_text(yaml.safe_dump_all(documents))
        return root

    def set(self, service: str, offset_s: float) -> None:
        """Have the processes of a Service see another time."""
        fresh = self._folder / f".{service}"
        fresh.write_text(str(offset_s))
        fresh.replace(self._folder / service)


def _is_service(document: dict[str, object]) -> bool:
    return document["kind"] == "Service" and str(document["apiVersion"]).startswith("serving.")
