"""Settings of event sources that may request batches, and of dead letters."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, model_validator

from batch_gateway.core.ids import tenant_id
from batch_gateway.settings.base import Positive, Seconds, SettingsGroup
from batch_gateway.settings.texts import MEMBERS

_FOLDER = re.compile(r"(?!file://[^/])[a-z][a-z0-9+.-]*://.*/", re.DOTALL)


def _folder(uri: str) -> str:
    if not _FOLDER.fullmatch(uri):
        raise ValueError("a folder is s3://BUCKET/ or s3://BUCKET/PREFIX/ (or file:///PATH/)")
    return uri


Folder = Annotated[str, AfterValidator(_folder)]


class DropFolderSettings(SettingsGroup):
    folder: Folder
    """What is put here as .jsonl becomes a batch."""
    endpoint: str = "*"
    """Of the batch; *: whatever the lines name."""
    completion_window: str = "24h"
    """Of the batch."""
    priority: Annotated[int, Field(ge=0, le=9)] = 5
    """Of the batch."""


class EventSourceSettings(SettingsGroup):
    tenant: str
    """The tenant that owns the batches."""
    keys: tuple[SecretStr, ...] = ()
    """Keys that it signs with; several while they are rotated."""
    token: SecretStr | None = None
    """What an object store's events carry that cannot sign; they can name objects only."""
    folders: tuple[Folder, ...] = ()
    """Where objects may be that its requests name."""
    drops: tuple[DropFolderSettings, ...] = ()
    """Folders whose new objects become batches."""

    @model_validator(mode="after")
    def _complete(self) -> "EventSourceSettings":
        if tenant_id(self.tenant) is None:
            raise ValueError("a tenant's name is 1 to 128 of A-Z a-z 0-9 . _ : @ / -")
        if not self.keys and self.token is None:
            raise ValueError(
                "a source needs keys or a token: without them any sender could use its name"
            )
        secrets = [*self.keys, *([self.token] if self.token is not None else [])]
        if any(len(secret.get_secret_value()) < 16 for secret in secrets):
            raise ValueError("a source's keys and token have at least 16 characters")
        return self


class DeadLetterSettings(SettingsGroup):
    most: Positive = 10_000
    """Maximum number of dead letters; the oldest are deleted."""
    keep_s: Seconds = 14 * 86400
    """How long they are kept."""


class IntakeSettings(SettingsGroup):
    sources: Annotated[dict[str, EventSourceSettings], *MEMBERS] = Field(default_factory=dict)
    """Systems that may request batches, by the `source` of their events: a JSON object as described
    in docs/events.md. Holds secrets."""
    remember_s: Seconds = 7 * 86400
    """How long the ids of processed events are kept, and maximum age of an event. Longer than
    brokers and operators redeliver."""
    s3_endpoint: str | None = None
    """URL of the S3-compatible store that the folders are in; None: that of the file store."""
    s3_region: str | None = None
    """Region to sign for there; None: that of the file store."""
    s3_access_key_id: str | None = None
    """For reading there; None: that of the file store."""
    s3_secret_access_key: SecretStr | None = None
    """For reading there; None: that of the file store."""
