"""The options of the simulator on the command line."""

from dataclasses import asdict, dataclass, field
from typing import Annotated

import typer
from typer import Option

from batch_gateway.option_groups import unfolded
from batch_gateway.simulator.config import SimulatorConfig

_DEFAULT = SimulatorConfig()


@dataclass(frozen=True)
class EngineOptions:
    """How the models serve; the names are those of ``SimulatorConfig``."""

    models: Annotated[
        list[str],
        Option("--model", help="Model to serve; may be given several times.", show_default=True),
    ] = field(default_factory=lambda: list(_DEFAULT.models))
    ttft_ms: Annotated[float, Option(help="Time to first token of an idle engine.")] = (
        _DEFAULT.ttft_ms
    )
    tpot_ms: Annotated[float, Option(help="Time per output token after the first.")] = (
        _DEFAULT.tpot_ms
    )
    prefill_us_per_token: Annotated[
        float, Option(help="Time per prompt token that is not in the prefix cache.")
    ] = _DEFAULT.prefill_us_per_token
    output_tokens: Annotated[int, Option(help="Mean length of answers; max_tokens cuts them.")] = (
        _DEFAULT.output_tokens
    )
    slots: Annotated[int, Option(help="Requests that run at once, per model.")] = _DEFAULT.slots
    queue: Annotated[
        int | None, Option(help="Requests that may wait before others are refused; default: any.")
    ] = _DEFAULT.queue
    priority: Annotated[bool, Option(help="Serve the smallest `priority` of the body first.")] = (
        _DEFAULT.priority
    )
    kv_blocks: Annotated[
        int, Option(help="Prefix cache in blocks of 16 tokens, per model; 0: none.")
    ] = _DEFAULT.kv_blocks
    shed_at: Annotated[
        int | None,
        Option(
            help="Requests in a model from which on those with an inference objective are "
            "refused; default: never."
        ),
    ] = _DEFAULT.shed_at
    metrics: Annotated[bool, Option(help="Show vLLM's metrics at /metrics.")] = _DEFAULT.metrics
    refuse_status: Annotated[
        int, Option(help="Status when slots and queue are full: 429 or 503.")
    ] = _DEFAULT.refuse_status
    retry_after_s: Annotated[
        float | None,
        Option("--retry-after", help="Retry-After of refusals, in seconds; default: none."),
    ] = _DEFAULT.retry_after_s


@dataclass(frozen=True)
class FaultOptions:
    """Which requests fail, and how; the names are those of ``SimulatorConfig``."""

    fault_rate: Annotated[
        float, Option(help="Share of the requests that meet a fault, 0 to 1.")
    ] = _DEFAULT.fault_rate
    fault_kinds: Annotated[
        list[str],
        Option(
            "--fault-kind",
            help="429, 503, 500, timeout (never an answer), disconnect (closed before the first "
            "byte), cut (closed in the middle), malformed (200, not JSON) or hostile (status "
            "lines, lengths, chunks, headers, bodies and counts that lie, and answers that never "
            "end, drawn from the seed); may be given several times.",
        ),
    ] = field(default_factory=lambda: list(_DEFAULT.fault_kinds))
    fault_match: Annotated[
        str | None, Option(help="Only requests whose body has this text meet faults.")
    ] = _DEFAULT.fault_match
    fault_attempts: Annotated[
        int | None, Option(help="Most faults per distinct body; default: no bound.")
    ] = _DEFAULT.fault_attempts
    seed: Annotated[int, Option(help="Seed of the faults.")] = _DEFAULT.seed


@unfolded
def simulate(
    *,
    port: Annotated[int, Option(min=0, max=65535, help="Port to listen on; 0: any free.")] = 8000,
    host: Annotated[str, Option(help="Address to listen on.")] = "127.0.0.1",
    engine: EngineOptions,
    faults: FaultOptions,
    speed_up: Annotated[float, Option(help="Divides all durations.")] = _DEFAULT.speed_up,
) -> None:
    """Serve simulated models with OpenAI's endpoints, without a GPU."""
    try:
        config = SimulatorConfig.checked(**asdict(engine), **asdict(faults), speed_up=speed_up)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error

    from batch_gateway.simulator.server import run  # after the options: --help stays quick

    try:
        run(config, host=host, port=port)
    except OSError as error:
        typer.echo(f"The simulator cannot listen on {host}:{port}: {error.strerror}", err=True)
        raise typer.Exit(1) from error
