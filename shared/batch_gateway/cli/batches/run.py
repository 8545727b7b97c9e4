"""``run``: from files of requests to their results, in one command that can be repeated.

A batch is found again by a note in its metadata: a digest of the file and of what was asked for.
So nothing is kept on this machine, and the same command continues from any machine, whatever ended
it before.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

from typer import Argument, Option

from batch_gateway.cli.batches.exit_codes import TERMINAL, judge, rate
from batch_gateway.cli.batches.options import (
    BatchOptions,
    ConnectionOptions,
    FailOnErrors,
    Quiet,
)
from batch_gateway.cli.errors import INTERRUPTED, REFUSED, CommandError, report_errors
from batch_gateway.cli.tables import print_text

if TYPE_CHECKING:
    from batch_gateway.cli.batches.service import Json, ServiceClient

#: The metadata by which a batch is found again.
NOTE = "batch_gateway_run"

_CHUNK = 1024 * 1024
_PAGE = 100


@report_errors
def run(
    files: Annotated[
        list[str], Argument(metavar="FILE", help="Requests as JSONL; -: standard input.")
    ],
    asked: BatchOptions,
    to: ConnectionOptions,
    output: Annotated[
        Path | None,
        Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Write there, in the input's order; a folder: a file for each FILE.",
        ),
    ] = None,
    new: Annotated[
        bool, Option("--new", help="Make new batches, also of files that were run before.")
    ] = False,
    fail_on_errors: FailOnErrors = None,
    quiet: Quiet = False,
) -> None:
    """Run files of requests and print their results; the same again continues after Ctrl-C."""
    fail_above = rate(fail_on_errors)
    job = _Job(asked, new=new, quiet=quiet)
    with to.service() as service:
        begun = [job.begin(service, name) for name in files]
        ended = _delivered(service, files, begun, output, quiet=quiet)
    judge(ended, fail_above)


@dataclass(frozen=True, slots=True)
class _Job:
    """Options of a run besides the files."""

    asked: BatchOptions
    new: bool
    quiet: bool

    def begin(self, service: "ServiceClient", name: str) -> "Json":
        """The batch of the file ``name``: one that was made before, or a new one."""
        from batch_gateway.cli.batches.progress_view import uploading
        from batch_gateway.cli.batches.source import InputSource
        from batch_gateway.cli.inputs.files import readable

        with readable(name) as stream, InputSource.of(name, stream) as source:
            body = self.asked.body(source)
            note = self._digest(stream, body)
            if not self.new and (found := _found(service, note)) is not None:
                self._tell(
                    service, found, f"{found['id']} of {name} continues; --new makes another"
                )
                return found
            with uploading(source, quiet=self.quiet):
                uploaded = service.upload(source)
            body |= {"metadata": self.asked.notes | {NOTE: note}, "input_file_id": uploaded["id"]}
            made = service.post("/batches", body)
        self._tell(service, made, f"{made['id']} of {name}")
        return made

    def _digest(self, stream: BinaryIO, body: dict[str, Any]) -> str:
        """Of everything that makes two runs the same; the file is read from its start."""
        asked = json.dumps([body, self.asked.notes], sort_keys=True)
        digest = hashlib.sha256(asked.encode())
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
        stream.seek(0)
        return digest.hexdigest()

    def _tell(self, service: "ServiceClient", batch: "Json", text: str) -> None:
        from batch_gateway.cli.batches.console_page import tell_page

        if not self.quiet:
            print_text(text, err=True)
            tell_page(service, batch)


def _found(service: "ServiceClient", note: str) -> "Json | None":
    """The newest batch with this note, if it can continue.

    What an expired or cancelled one has finished is taken over by its retry; a failed one had
    nothing that could continue.
    """
    after = None
    while True:
        query = {"limit": _PAGE, "after": after, f"metadata[{NOTE}]": note}
        page = service.get("/batches", **query)
        for batch in page["data"]:  # a service without this filter answers all
            if (batch.get("metadata") or {}).get(NOTE) == note:
                return _going_on(service, batch)
        if not page["has_more"] or not page["data"]:
            return None
        after = page["data"][-1]["id"]


def _going_on(service: "ServiceClient", batch: "Json") -> "Json | None":
    if batch["status"] in ("expired", "cancelled"):
        try:
            return service.post(f"/batches/{batch['id']}/retry")
        except CommandError as error:
            if error.exit_code != REFUSED:
                raise
            return None
    return None if batch["status"] == "failed" else batch


def _delivered(
    service: "ServiceClient",
    names: list[str],
    begun: "list[Json]",
    output: Path | None,
    *,
    quiet: bool,
) -> "list[Json]":
    """Write the results of all batches; the batches when they have ended."""
    from batch_gateway.cli.batches.results import target_of
    from batch_gateway.cli.batches.summary import print_summary

    ended = []
    try:
        if output is None or not output.is_dir():
            with target_of(output) as target:
                for batch in begun:
                    streams = output is None
                    ended.append(_written(service, batch, target, streams=streams, quiet=quiet))
        else:
            for name, batch in zip(names, begun, strict=True):
                stem = "stdin" if name == "-" else Path(name).stem
                with target_of(output / f"{stem}.results.jsonl") as target:
                    ended.append(_written(service, batch, target, streams=False, quiet=quiet))
    except KeyboardInterrupt as error:
        raise CommandError(_hint(begun[len(ended) :]), INTERRUPTED) from error
    if not quiet:
        for batch in ended:
            print_summary(service, batch)
    return ended


def _hint(going: "list[Json]") -> str:
    batches = " and ".join(batch["id"] for batch in going)
    verb = "continues" if len(going) == 1 else "continue"
    return f"{batches} {verb}; the same command fetches the results, `cancel` ends a batch"


def _written(
    service: "ServiceClient", batch: "Json", target: BinaryIO, *, streams: bool, quiet: bool
) -> "Json":
    """Write all results of one batch, and return it when it has ended.

    ``streams``: each as soon as there is one. Otherwise in the input's order, what succeeded
    before what failed.
    """
    from batch_gateway.cli.batches.progress_view import states, view_of
    from batch_gateway.cli.batches.results import copy_file, follow_results

    path = f"/batches/{batch['id']}"
    if streams and "paused" in batch:  # not a service in strict mode
        follow_results(service, path, target)
        return service.get(path)
    if batch["status"] not in TERMINAL:
        with view_of(quiet=quiet) as view:
            for state in states(service, batch["id"]):
                view.show(batch := state)
    for file in (batch["output_file_id"], batch["error_file_id"]):
        copy_file(service, file, target)
    return batch
