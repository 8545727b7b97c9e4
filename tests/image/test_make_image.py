"""``make image`` with container engines that record their commands, and refuse all others.

The stand-ins know the options of the commands that they stand in for
(docs.docker.com/reference/cli/docker, docs.podman.io, github.com/containers/buildah/docs,
kind.sigs.k8s.io, minikube.sigs.k8s.io) as far as they could be of use here.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGE = "dev.local/batch-gateway:dev"
EPOCH = "1790000000"

STAND_IN = """#!{python}
import json, os, sys
from pathlib import Path

#: command -> options that take a value, plain options, number of arguments
KNOWN = {{
    "docker info": ((), (), 0),
    "docker build": (("-f", "-t", "--build-arg", "--platform"), ("--pull",), 1),
    "docker save": (("-o",), (), 1),
    "podman build": (("-f", "-t", "--build-arg", "--ignorefile", "--platform"), ("--pull",), 1),
    "podman save": (("-o", "--format"), (), 1),
    "buildah build": (("-f", "-t", "--build-arg", "--ignorefile", "--platform"), ("--pull",), 1),
    "buildah push": (("--format",), (), 2),
    "kind load image-archive": (("--name",), (), 1),
    "minikube image load": (("--profile", "-p"), ("--overwrite",), 1),
}}
name, words = Path(sys.argv[0]).name, sys.argv[1:]
depth = next((n for n in (1, 2) if " ".join([name, *words[:n]]) in KNOWN), None)
if depth is None:
    sys.exit(f"{{name}}: unknown command: {{words}}")
command = " ".join([name, *words[:depth]])
valued, plain, count = KNOWN[command]
options, arguments, rest = {{}}, [], words[depth:]
while rest:
    word = rest.pop(0)
    if word in valued:
        if not rest:
            sys.exit(f"{{name}}: flag needs an argument: {{word}}")
        options[word] = rest.pop(0)
    elif word in plain:
        options[word] = ""
    elif word.startswith("-"):
        sys.exit(f"{{name}}: unknown flag: {{word}}")
    else:
        arguments.append(word)
if len(arguments) != count:
    sys.exit(f"{{name}}: {{command}} takes {{count}} arguments, not {{arguments}}")
here = Path(__file__).parent
if "build" in words[0]:
    assert Path(options["-f"]).is_file() and Path(arguments[0], "pyproject.toml").is_file()
    if "--ignorefile" in options:
        assert Path(options["--ignorefile"]).is_file()
if words[0] == "save":
    Path(options["-o"]).write_text(arguments[0])
if words[0] == "push":
    transport, path, image = arguments[1].split(":", 2)
    assert transport == "docker-archive"
    Path(path).write_text(image)
held = None
if words[depth - 1] in ("image-archive", "load"):
    held = Path(arguments[0]).read_text()
with (here / "calls").open("a") as calls:
    calls.write(json.dumps([command, options, arguments, held]) + "\\n")
sys.exit(int(os.environ.get("FAILS") == command))
"""


@pytest.fixture
def programs(tmp_path):
    """Puts stand-ins onto a PATH that has nothing else but what make and the script need."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def put(*names: str) -> Path:
        for name in names:
            program = folder / name
            program.write_text(STAND_IN.format(python=sys.executable))
            program.chmod(0o755)
        return folder

    put()
    shell = shutil.which("sh")
    assert shell is not None
    (folder / "sh").symlink_to(shell)
    return put


def make(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("make")
    assert program is not None
    env = {"PATH": str(folder), "SOURCE_DATE_EPOCH": EPOCH, "HOME": str(folder), **environment}
    command = [program, "-s", "-C", str(ROOT), "image", f"PYTHON={sys.executable}", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def calls(folder: Path) -> list[list[object]]:
    written = folder / "calls"
    return [json.loads(line) for line in written.read_text().splitlines()]


def built(engine: str, image: str = IMAGE) -> list[object]:
    options = {
        "-f": "functions/Dockerfile",
        "--build-arg": f"SOURCE_DATE_EPOCH={EPOCH}",
        "-t": image,
    }
    if engine != "docker":
        options["--ignorefile"] = "functions/Dockerfile.dockerignore"
    return [f"{engine} build", options, ["."], None]


@pytest.mark.parametrize("engine", ["docker", "podman", "buildah"])
def test_the_engine_that_is_there_builds(programs, engine):
    folder = programs(engine)

    done = make(folder)

    assert done.returncode == 0, done.stderr
    assert calls(folder)[-1] == built(engine)
    assert f"{IMAGE} is built by {engine}" in done.stdout


def test_the_first_engine_is_taken_unless_another_is_asked_for(programs):
    folder = programs("docker", "podman", "buildah")

    assert make(folder).returncode == 0
    assert (
        make(folder, "ENGINE=buildah", "IMAGE=registry.example/batch-gateway:1.0").returncode == 0
    )

    assert [call[0] for call in calls(folder)] == ["docker info", "docker build", "buildah build"]
    assert calls(folder)[-1] == built("buildah", "registry.example/batch-gateway:1.0")


def test_a_docker_without_a_daemon_is_passed_over(programs):
    folder = programs("docker", "podman")

    done = make(folder, FAILS="docker info")

    assert done.returncode == 0, done.stderr
    assert [call[0] for call in calls(folder)] == ["docker info", "podman build"]


def test_without_an_engine_it_says_what_is_missing(programs):
    done = make(programs())

    assert done.returncode != 0
    assert "needs docker, podman or buildah, and found none" in done.stderr


def test_a_silent_daemon_is_named_when_there_is_nothing_else(programs):
    done = make(programs("docker"), FAILS="docker info")

    assert done.returncode != 0
    assert "the daemon of docker does not answer" in done.stderr


def test_an_engine_that_is_asked_for_and_missing_is_named(programs):
    done = make(programs("docker"), "ENGINE=podman")

    assert done.returncode != 0
    assert "podman is not on the PATH" in done.stderr


def test_a_build_that_fails_fails(programs):
    done = make(programs("podman"), FAILS="podman build")

    assert done.returncode != 0
    assert "podman build ended with 1" in done.stderr
    assert "is built" not in done.stdout


@pytest.mark.parametrize("image", ["batch-gateway", "localhost:5000/batch-gateway", "a/b:latest"])
def test_an_image_needs_a_tag_that_stays(programs, image):
    folder = programs("docker")

    done = make(folder, f"IMAGE={image}")

    assert done.returncode != 0
    assert f"{image} needs a tag that is not latest" in done.stderr
    assert not (folder / "calls").exists()


@pytest.mark.parametrize("engine", ["docker", "podman", "buildah"])
@pytest.mark.parametrize("loader", ["kind", "minikube"])
def test_a_cluster_on_this_machine_takes_the_image_as_an_archive(programs, engine, loader):
    folder = programs(engine, loader)

    done = make(folder, f"LOAD={loader}", "CLUSTER=mine")

    assert done.returncode == 0, done.stderr
    command, options, (archive,), held = calls(folder)[-1]
    assert held == IMAGE
    if loader == "kind":
        assert (command, options) == ("kind load image-archive", {"--name": "mine"})
    else:
        assert (command, options) == ("minikube image load", {"--profile": "mine"})
    assert not Path(archive).exists()


def test_a_cluster_that_is_not_there_is_told_before_anything_is_built(programs):
    folder = programs("docker")

    done = make(folder, "LOAD=kind")

    assert done.returncode != 0
    assert "kind is not on the PATH" in done.stderr
    assert not (folder / "calls").exists()


def test_the_context_leaves_out_what_the_build_does_not_need():
    """The same list for all engines, and everything that the Dockerfile copies is in it."""
    ignored = (ROOT / "functions/Dockerfile.dockerignore").read_text().split()
    copied = {
        word
        for line in (ROOT / "functions/Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }

    assert "*" in ignored
    assert copied == {word.removeprefix("!") for word in ignored if word.startswith("!")}
