"""``batch-gateway verify``: exit codes, what is printed, and that nothing is changed by looking."""

import asyncio
import hashlib
import json
from pathlib import Path

import pytest
from fixtures.metadata import a_file
from fixtures.redis import emptied
from typer.testing import CliRunner

from batch_gateway.cli.main import app
from batch_gateway.core.ids import FileId
from batch_gateway.core.layout import file_key
from batch_gateway.settings import FileSettings, MetadataSettings, Settings
from batch_gateway.wiring.stores import open_files, open_metadata

NAME = FileId("file-0123456789")
CONTENT = b"a file\n"


def verify(*words: str, **env: str):
    return CliRunner().invoke(app, ["verify", *words], env=env)


async def store_file(settings: Settings, content: bytes = CONTENT) -> None:
    """A file whose row says CONTENT."""
    metadata, files = await open_metadata(settings), open_files(settings)
    await metadata.check()
    digest = hashlib.sha256(CONTENT).hexdigest()
    await metadata.files.add(a_file(id=NAME, key=file_key(NAME), size=len(CONTENT), sha256=digest))
    await files.put(file_key(NAME), content)
    await files.close()
    await metadata.close()


def stores(url: str, files: str, **more: str) -> Settings:
    return Settings(
        metadata=MetadataSettings(url=url, migrate=True), files=FileSettings(url=files, **more)
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder as ``up --data`` leaves it behind."""
    folder = tmp_path / "data"
    folder.mkdir()
    url = f"sqlite+aiosqlite:///{folder}/metadata.db"
    asyncio.run(store_file(stores(url, f"file://{folder}/files")))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """All files but those of SQLite's log, which readers open too."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def test_a_whole_folder_is_whole_and_stays_as_it_is(data):
    before = content(data)

    done = verify("--data", str(data))

    assert (done.exit_code, done.stdout) == (0, "")
    assert "1 files" in done.stderr
    assert "0 damaged" in done.stderr
    assert content(data) == before


def test_damage_ends_with_one_and_names_the_object_and_its_owner(data):
    (data / "files" / file_key(NAME)).unlink()

    done = verify("--data", str(data))

    assert done.exit_code == 1
    assert done.stdout == f"missing\tfile of {NAME} (alice)\tfiles/{NAME}\n"
    assert "1 damaged" in done.stderr


def test_an_orphan_is_listed_and_ends_with_zero(data):
    (data / "files/files/file-of-nobody").write_bytes(b"x")

    done = verify("--data", str(data))

    assert done.exit_code == 0
    assert done.stdout.startswith("orphan\tfiles\tfiles/file-of-nobody: 1 bytes, written 20")


def test_json_has_a_line_for_each_finding_and_the_summary(data):
    path = data / "files" / file_key(NAME)
    path.write_bytes(b"A" + CONTENT[1:])

    done = verify("--data", str(data), "--json")

    finding, summary = map(json.loads, done.stdout.splitlines())
    assert done.exit_code == 1
    assert finding["finding"]["problem"] == "checksum"
    assert (finding["finding"]["owner"], finding["finding"]["key"]) == (NAME, f"files/{NAME}")
    assert summary["summary"] | {"bytes": 0} == {
        **{"files": 1, "upload_parts": 0, "shards": 0, "parts": 0, "bytes": 0},
        **{"damaged": 1, "orphans": 0},
    }


def test_looking_into_a_folder_makes_nothing(tmp_path):
    done = verify("--data", str(tmp_path / "absent"))

    assert done.exit_code == 2
    assert "it has no metadata.db" in done.stderr
    assert not (tmp_path / "absent").exists()


def test_a_database_of_another_release_is_not_migrated(data):
    asyncio.run(_pretend(data, "0001"))
    before = content(data)["metadata.db"]

    done = verify("--data", str(data))

    assert done.exit_code == 3
    assert "schema version 0001" in done.stderr
    assert content(data)["metadata.db"] == before


async def _pretend(data: Path, version: str) -> None:
    import sqlalchemy as sa

    from batch_gateway.adapters.sql.dialects import create_engine

    engine = create_engine(f"sqlite+aiosqlite:///{data}/metadata.db", 1)
    async with engine.begin() as connection:
        await connection.execute(sa.text(f"UPDATE alembic_version SET version_num = '{version}'"))
        await connection.exec_driver_sql("SELECT 1")
    await engine.dispose()


def test_stores_that_do_not_answer_end_with_three(tmp_path):
    url = "postgresql+asyncpg://nobody@127.0.0.1:1/none"

    done = verify(BATCH_GATEWAY_METADATA__URL=url, BATCH_GATEWAY_FILES__URL=f"file://{tmp_path}")

    assert done.exit_code == 3


@pytest.mark.s3
@pytest.mark.postgres
@pytest.mark.parametrize("damaged", [False, True])
def test_postgresql_and_s3(postgres_url, s3_server, damaged):
    more = {name: value for name, value in s3_server.settings.items() if name != "url"}
    settings = stores(postgres_url, s3_server.settings["url"], **more)
    asyncio.run(store_file(settings, b"A" + CONTENT[1:] if damaged else CONTENT))
    env = {f"BATCH_GATEWAY_FILES__{k.upper()}": v for k, v in s3_server.settings.items()}

    done = verify("--json", BATCH_GATEWAY_METADATA__URL=postgres_url, **env)

    assert done.exit_code == int(damaged), done.output
    assert json.loads(done.stdout.splitlines()[-1])["summary"]["files"] == 1


@pytest.fixture
def persistent_redis_url(request: pytest.FixtureRequest) -> str:
    return emptied(request.getfixturevalue("_redis_server"))


@pytest.mark.redis
@pytest.mark.parametrize("damaged", [False, True])
def test_redis_and_a_folder(persistent_redis_url, tmp_path, damaged):
    url = persistent_redis_url
    settings = stores(url, f"file://{tmp_path}/files")
    asyncio.run(store_file(settings, b"A" + CONTENT[1:] if damaged else CONTENT))

    done = verify(BATCH_GATEWAY_METADATA__URL=url, BATCH_GATEWAY_FILES__URL=settings.files.url)

    assert done.exit_code == int(damaged), done.output
    assert done.stdout.startswith("checksum\tfile") == damaged
