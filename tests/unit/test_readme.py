"""The README is correct in everything that can be checked."""

from pathlib import Path

from batch_gateway.cli.settings import page, rows

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_page_of_settings_is_what_the_classes_say():
    """Run ``make settings-docs`` when this fails."""
    assert (ROOT / "docs/settings.md").read_text() == page()


def test_every_setting_says_what_it_is_for():
    assert [row.variable for row in rows() if not row.meaning] == []


def test_the_two_commands_are_named():
    assert "make demo" in README
    assert "make test" in README
