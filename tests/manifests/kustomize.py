"""Builds kustomizations as users do: with ``kubectl kustomize``, offline."""

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from batch_gateway.local.manifests import deployment_root

ROOT = deployment_root()
KUBECTL = Path(sys.executable).with_name("kubectl")

Document = dict[str, Any]


@functools.cache
def build(folder: Path) -> Sequence[Document]:
    """All resources of the kustomization in ``folder``. Raises AssertionError."""
    result = subprocess.run(
        [str(KUBECTL), "kustomize", str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": tempfile.gettempdir()},
    )
    assert result.returncode == 0, result.stderr
    assert not result.stderr, result.stderr  # deprecated fields are told there
    return [document for document in yaml.load_all(result.stdout, yaml.CSafeLoader) if document]


@functools.cache
def combine(
    resources: tuple[str, ...], components: tuple[str, ...], namespace: str = "batch-gateway"
) -> Sequence[Document]:
    """What an overlay of these folders, named from the root, gives."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()

        def relative(path: str) -> str:
            return os.path.relpath(ROOT / path, folder)

        overlay = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": namespace,
            "resources": [relative(path) for path in resources],
            "components": [relative(path) for path in components],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
        return build(folder)
