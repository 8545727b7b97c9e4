"""The prose check finds planted sentences, skips code and data; the repository is clean."""

import pytest
from prose import Finding, findings, repository


def found(path: str, text: str) -> list[str]:
    return [finding.text for finding in findings(path, text)]


@pytest.mark.parametrize(
    ("sentence", "text"),
    [
        ("The janitor leaves his rounds to a successor.", "his"),
        ("While Redis is away nobody counts.", "nobody"),
        ("It is sent by whoever stores results.", "whoever"),
        ("Everybody may use it.", "Everybody"),
        ("Anybody could sign.", "Anybody"),
        ("An executor renews its leases until she ends.", "she"),
        ("Who may ask is set by the settings.", "Who may ask is set by the settings."),
        ("Whose turn it is decides the lock.", "Whose turn it is decides the lock."),
        ("It waits. Only then is the entry settled.", ". Only then is"),
        ("Never does it raise.", "Never does"),
        ("The blob is nobody's.", "nobody"),
        ("The batch goes on when the key works.", "goes on"),
        ("Calls that run go on.", "go on"),
        ("The order is said by the settings.", "is said by"),
        ("It returns the batch that the event speaks of.", "speaks of"),
        ("To delete the blob is the caller's affair.", "caller's affair"),
        ("The database says that they are over.", "database says"),
        ("The planner knows the models.", "planner knows"),
        ("It takes calls, as far as we know.", "as far as we know"),
    ],
)
@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("docs/page.md", "# Page\n\n{}\n"),
        ("shared/batch_gateway/module.py", '"""{}"""\n'),
        ("shared/batch_gateway/module.py", "x = 1\n# {}\ny = 2\n"),
        ("shared/batch_gateway/module.py", 'logger.info("{} (%s)", error)\n'),
        ("tests/unit/test_module.py", 'def test_one():\n    """{}"""\n'),
        ("knative/base/api.yaml", "kind: Service\n# {}\n"),
        ("shared/batch_gateway/script.lua", "-- {}\nreturn 1\n"),
        ("shared/batch_gateway/page.js", "// {}\nrun();\n"),
        ("shared/batch_gateway/page.js", 'show("{}");\n'),
        ("tests/browser/page.test.mjs", "/** {} */\nrun();\n"),
    ],
    ids=[
        *("markdown", "docstring", "comment", "message", "test", "yaml", "lua"),
        *("script", "text of a page", "test of a page"),
    ],
)
def test_planted_sentences_are_found(path, form, sentence, text):
    assert found(path, form.format(sentence)) == [text]


def test_a_finding_names_its_line():
    text = '"""Module.\n\nIt runs,\nand nobody knows why.\n"""\n'

    assert [(one.path, one.line) for one in findings("shared/x.py", text)] == [("shared/x.py", 4)]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("docs/page.md", "The key `nobody` and\n\n```\nwhoami # nobody\n```\n"),
        (
            "docs/page.md",
            "Who may call? Tenants with a key. Not only here. The heritage of this theory.\n",
        ),
        ("shared/x.py", 'name = "nobody"\n'),
        ("shared/x.py", '"""What it opens goes on the stack."""\n'),
        ("tests/unit/test_x.py", 'assert ask("somebody else") == "he said"\n'),
        ("shared/x.py", "nobody = his = 1\n"),
        ("shared/x.lua", "local his = 1 return his\n"),
        ("image.png", "nobody"),
    ],
)
def test_code_data_and_questions_are_no_findings(path, text):
    assert found(path, text) == []


def test_the_repository_is_clean():
    assert repository() == list[Finding]()
