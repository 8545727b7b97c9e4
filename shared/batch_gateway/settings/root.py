"""All groups of settings in one object; see ``batch_gateway.settings``."""

from pydantic_settings import BaseSettings, SettingsConfigDict

from batch_gateway.settings.api import Api, Auth, Quota
from batch_gateway.settings.dispatch import Inference, Limits, Retry, Watching
from batch_gateway.settings.intake import DeadLetters, Intake
from batch_gateway.settings.log import Log
from batch_gateway.settings.metrics import Metrics
from batch_gateway.settings.prices import Audit, Prices, Usage
from batch_gateway.settings.probes import Probes
from batch_gateway.settings.queue import Queue
from batch_gateway.settings.stores import Events, Files, Metadata, Scratch
from batch_gateway.settings.tracing import Tracing
from batch_gateway.settings.webhooks import Webhooks
from batch_gateway.settings.work import Batches, Execution, Planning, Sweep

PREFIX = "BATCH_GATEWAY_"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    metadata: Metadata = Metadata()
    scratch: Scratch = Scratch()
    files: Files = Files()
    events: Events = Events()
    api: Api = Api()
    auth: Auth = Auth()
    quota: Quota = Quota()
    prices: Prices = Prices()
    usage: Usage = Usage()
    audit: Audit = Audit()
    batches: Batches = Batches()
    planning: Planning = Planning()
    execution: Execution = Execution()
    queue: Queue = Queue()
    sweep: Sweep = Sweep()
    webhooks: Webhooks = Webhooks()
    intake: Intake = Intake()
    dead_letters: DeadLetters = DeadLetters()
    limits: Limits = Limits()
    watching: Watching = Watching()
    retry: Retry = Retry()
    inference: Inference = Inference()
    probes: Probes = Probes()
    log: Log = Log()
    metrics: Metrics = Metrics()
    tracing: Tracing = Tracing()
