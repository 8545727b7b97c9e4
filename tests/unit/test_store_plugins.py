"""Store plug-ins: which module opens the store of a URL."""

import sys

import pytest

from batch_gateway.extras import MissingExtra
from batch_gateway.settings import Settings
from batch_gateway.settings.stores import CoordinationSettings, FileSettings, MetadataSettings
from batch_gateway.store_plugins import (
    UnknownStore,
    file_plugin,
    metadata_plugin,
    require_stores,
    scratch_plugin,
)


def files_at(url):
    return Settings(files=FileSettings(url=url))


def metadata_at(url):
    return Settings(metadata=MetadataSettings(url=url))


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package of one module, with an entry point in each group that is named."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name, source, **groups):
        (tmp_path / f"{name}.py").write_text(source)
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(
            "\n".join(f"[batch_gateway.{group}]\n{entry}" for group, entry in groups.items())
        )

    yield install
    for name in ("toy", "other"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("plugin", "settings", "module"),
    [
        (metadata_plugin, metadata_at("sqlite+aiosqlite:///x.db"), "sql"),
        (metadata_plugin, metadata_at("postgresql+asyncpg://h/d"), "sql"),
        (metadata_plugin, metadata_at("rediss://h"), "redis_metadata"),
        (metadata_plugin, metadata_at("valkey://h"), "redis_metadata"),
        (file_plugin, files_at("file:///x"), "local_files"),
        (file_plugin, files_at("s3://bucket/prefix"), "s3_files"),
        (
            scratch_plugin,
            Settings(scratch=CoordinationSettings(url="valkeys://h")),
            "redis_coordination",
        ),
        (
            scratch_plugin,
            Settings(scratch=CoordinationSettings(url="unix:///x")),
            "redis_coordination",
        ),
    ],
)
def test_the_scheme_selects_the_plug_in(plugin, settings, module):
    assert plugin(settings).__name__ == f"batch_gateway.adapters.{module}.plugin"


def test_all_groups_take_installed_packages(install):
    source = "def open_store(settings, **_): return settings"
    groups = ("metadata_stores", "file_stores", "scratch_stores")
    install("toy", source, **dict.fromkeys(groups, "toy = toy"))
    settings = Settings(
        metadata=MetadataSettings(url="toy+driver://h"),
        files=FileSettings(url="toy:x"),
        scratch=CoordinationSettings(url="toy:"),
    )

    require_stores(settings)

    assert metadata_plugin(settings) is file_plugin(settings) is scratch_plugin(settings)
    assert file_plugin(settings).open_store(settings, on_full=print) is settings


def test_the_gateways_own_plug_ins_are_found_without_reading_installed_packages(install):
    install("toy", "", file_stores="file = toy")

    assert file_plugin(files_at("file:///x")).__name__.startswith("batch_gateway.")


@pytest.mark.parametrize("url", ["gs://bucket", "no URL", ""])
def test_an_unknown_scheme_is_refused_and_the_known_ones_are_named(install, url):
    install("toy", "", file_stores="toy = toy")
    settings = files_at(url)

    with pytest.raises(UnknownStore, match="there are those for file, s3, toy"):
        require_stores(settings)


def test_a_url_is_a_secret_of_which_only_the_scheme_is_shown():
    with pytest.raises(UnknownStore) as refused:
        require_stores(metadata_at("oracle://scott:tiger@h"))

    assert "oracle://" in str(refused.value)
    assert "tiger" not in str(refused.value)


@pytest.mark.parametrize(
    ("source", "value", "said"),
    [
        ("import no_such_module", "toy", "no_such_module"),
        ("", "toy:missing", "missing"),
        ("", "nowhere", "nowhere"),
        ("open_store = 1", "toy", "has no open_store"),
    ],
    ids=["import fails", "no such attribute", "no such module", "not a function"],
)
def test_a_plug_in_that_cannot_be_loaded_is_named(install, source, value, said):
    install("toy", source, file_stores=f"toy = {value}")

    with pytest.raises(UnknownStore, match=said) as refused:
        file_plugin(files_at("toy:///x"))

    assert f"files.url: the plug-in {value}" in str(refused.value)


def test_two_packages_with_one_scheme_are_refused(install):
    install("toy", "", file_stores="toy = toy")
    install("other", "", file_stores="toy = other")

    with pytest.raises(UnknownStore, match="several plug-ins for toy://: other and toy"):
        require_stores(files_at("toy:///x"))


def test_a_missing_extra_is_told(monkeypatch):
    monkeypatch.setattr("batch_gateway.extras.find_spec", lambda _: None)

    with pytest.raises(MissingExtra, match=r"files.url with s3:// .* 'batch-gateway\[s3\]'"):
        require_stores(files_at("s3://bucket"))
    with pytest.raises(MissingExtra, match=r"metadata.url with postgresql:// .*\[postgres\]'"):
        require_stores(metadata_at("postgresql+asyncpg://h/d"))
