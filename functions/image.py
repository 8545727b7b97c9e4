#!/usr/bin/env python3
"""Builds the image with whichever container engine there is, and puts it into a cluster on this
machine if that is asked for: ``make image [IMAGE=...] [ENGINE=...] [LOAD=kind|minikube]``.

docker, podman and buildah are tried in this order; a docker whose daemon does not answer is passed
over. Needs nothing but the Python that runs it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = "functions/Dockerfile"
IGNORED = "functions/Dockerfile.dockerignore"
ENGINES = ("docker", "podman", "buildah")
LOADERS = ("kind", "minikube")
#: Knative asks no registry for the digest of images whose names begin with dev.local.
IMAGE = "dev.local/batch-gateway:dev"
#: The name that `kn quickstart` gives to its cluster.
CLUSTER = "knative"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--image", default=IMAGE, type=named, help=f"default: {IMAGE}")
    parser.add_argument("--engine", choices=ENGINES, help="default: the first one that works")
    parser.add_argument("--load", choices=LOADERS, help="put the image into this cluster's nodes")
    parser.add_argument("--cluster", default=CLUSTER, help=f"its name; default: {CLUSTER}")
    asked = parser.parse_args()
    if asked.load is not None and shutil.which(asked.load) is None:
        sys.exit(f"make image: {asked.load} is not on the PATH, so it cannot take the image")
    engine = asked.engine or found_engine()
    if shutil.which(engine) is None:
        sys.exit(f"make image: {engine} is not on the PATH")
    run(build_command(engine, asked.image))
    if asked.load is not None:
        load(engine, asked.image, asked.load, asked.cluster)
    print(f"{asked.image} is built by {engine}" + (f", {asked.load} has it" if asked.load else ""))


def named(image: str) -> str:
    """An image's name with a tag: without one Kubernetes would look for it in a registry."""
    _, colon, tag = image.rpartition(":")
    if not colon or "/" in tag or tag in ("", "latest"):
        raise argparse.ArgumentTypeError(f"{image} needs a tag that is not latest")
    return image


def found_engine() -> str:
    silent = False
    for engine in ENGINES:
        if shutil.which(engine) is None:
            continue
        if engine != "docker" or answers():
            return engine
        silent = True
    if silent:
        sys.exit("make image: the daemon of docker does not answer, and there is no other engine")
    sys.exit(f"make image: needs {', '.join(ENGINES[:-1])} or {ENGINES[-1]}, and found none")


def answers() -> bool:
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def build_command(engine: str, image: str) -> list[str]:
    """docker finds the list of what it leaves out by its name, other builders get an option."""
    ignored = [] if engine == "docker" else ["--ignorefile", IGNORED]
    epoch = ["--build-arg", f"SOURCE_DATE_EPOCH={source_date()}"]
    return [engine, "build", "-f", DOCKERFILE, *ignored, *epoch, "-t", image, "."]


def source_date() -> str:
    """Seconds since 1970 of the sources: the same sources give the same image."""
    if told := os.environ.get("SOURCE_DATE_EPOCH"):
        return told
    if shutil.which("git") is not None:
        command = ["git", "log", "-1", "--format=%ct"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    return "315532800"  # 1980, as the Dockerfile has it


def load(engine: str, image: str, loader: str, cluster: str) -> None:
    """Hand the image over as an archive: so it does not matter which engine the cluster runs on."""
    with tempfile.TemporaryDirectory(prefix="batch-gateway-image-") as folder:
        archive = str(Path(folder) / "image.tar")
        if engine == "buildah":
            run(["buildah", "push", image, f"docker-archive:{archive}:{image}"])
        else:
            run([engine, "save", "-o", archive, image])
        if loader == "kind":
            run(["kind", "load", "image-archive", archive, "--name", cluster])
        else:
            run(["minikube", "image", "load", archive, "--profile", cluster])


def run(command: list[str]) -> None:
    # An index of attestations beside the image confuses the loaders of some clusters.
    env = os.environ | {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    print("+", *command, flush=True)
    done = subprocess.run(command, cwd=ROOT, env=env, check=False)
    if done.returncode:
        sys.exit(f"make image: {' '.join(command[:2])} ended with {done.returncode}")


if __name__ == "__main__":
    main()
