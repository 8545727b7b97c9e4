"""The README tells the truth about what can be checked."""

from pathlib import Path

from batch_gateway.cli.settings import rows, table

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_table_of_settings_is_the_commands_output():
    _, _, rest = README.partition("<!-- settings -->\n")
    shown, _, _ = rest.partition("<!-- /settings -->")

    assert shown.strip() == table().strip()


def test_every_setting_says_what_it_is_for():
    assert [row.variable for row in rows() if not row.meaning] == []


def test_the_two_commands_are_named():
    assert "make demo" in README
    assert "make test" in README
