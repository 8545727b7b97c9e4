"""Commands for files of requests, as processes: they need no service and little memory."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.gateway import CHAT, chat_lines, encoded

COMMAND = (sys.executable, "-m", "batch_gateway")


def run(*words: str | Path, stdin: bytes = b"", code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run([*COMMAND, *map(str, words)], input=stdin, capture_output=True)
    assert done.returncode == code, done.stderr.decode()
    return done


def peak_memory(*words: str | Path) -> int:
    """Bytes that a command held at most."""
    pid = os.posix_spawn(
        sys.executable,
        [*COMMAND, *map(str, words)],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, used = os.wait4(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return used.ru_maxrss * 1024


@pytest.fixture
def requests(tmp_path) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_bytes(encoded(chat_lines(10)))
    return path


def ids(lines: bytes) -> list[str]:
    return [json.loads(line)["custom_id"] for line in lines.splitlines()]


def test_a_good_file_is_told_with_its_models_and_tokens(requests):
    shown = run("check", requests).stdout.decode().splitlines()
    told = json.loads(run("check", requests, "--json", "--deduplicate").stdout)

    assert shown[0] == f"{requests}: 10 requests to {CHAT}, 1 shards"
    assert shown[1].split() == ["MODEL", "REQUESTS", "TOKENS"]
    assert shown[2].split()[:2] == ["sim-large", "10"]
    assert (told["requests"], told["errors"]) == (10, [])
    assert told["models"]["sim-large"]["estimated_tokens"] > 1000


def test_all_errors_are_told_with_their_lines(tmp_path):
    lines = [
        *chat_lines(2),
        {"custom_id": "no-method"},
        chat_lines(1)[0],
        {**chat_lines(5)[4], "url": "/v1/embeddings"},
    ]
    file = tmp_path / "bad.jsonl"
    file.write_bytes(encoded(lines) + b"\n{not json\n")

    done = run("check", file, "--max-requests", "3", code=4)
    told = json.loads(run("check", file, "--json", code=4).stdout)

    shown = done.stdout.decode().splitlines()
    assert [line.partition(":")[0] for line in shown[:4]] == [
        "line 3",
        "line 4",
        "line 5",
        "line 7",
    ]
    assert shown[1].endswith("(duplicate_custom_id)")
    assert "more than 3 requests" in shown[4]
    assert done.stderr.decode().strip().endswith("would not run as it is: 5 errors")
    assert [(error["line"], error["code"]) for error in told["errors"]] == [
        (3, "missing_required_parameter"),
        (4, "duplicate_custom_id"),
        (5, "invalid_url"),
        (7, "invalid_json_line"),
    ]


def test_standard_input_is_checked_and_models_that_are_not_served_are_told(requests):
    done = run("check", "-", "--model", "other", stdin=requests.read_bytes(), code=4)

    assert "models that are not served: sim-large" in done.stderr.decode()
    assert "not served" in done.stdout.decode()


def test_a_table_becomes_requests_that_pass_the_check(tmp_path):
    table = tmp_path / "reviews.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(
            [("id", "text"), ("a", 'Good, "very" good'), ("b", "{{id}} två\nrader")]
        )
    words = (
        "--model",
        "m",
        "--id",
        "id",
        "--prompt",
        "Is it good? {{text}}",
        "--system",
        "Be {{id}}",
    )

    made = run("convert", table, *words, "--field", "max_tokens=4").stdout

    assert [json.loads(line) for line in made.splitlines()] == [
        {
            "custom_id": name,
            "method": "POST",
            "url": CHAT,
            "body": {
                "model": "m",
                "messages": [
                    {"role": "system", "content": f"Be {name}"},
                    {"role": "user", "content": f"Is it good? {text}"},
                ],
                "max_tokens": 4,
            },
        }
        for name, text in (("a", 'Good, "very" good'), ("b", "{{id}} två\nrader"))
    ]
    run("check", "-", stdin=made)


def test_prompts_become_requests_of_any_endpoint(tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("One\n\n Two \n")

    made = run("convert", prompts, "--model", "m", "--endpoint", "/v1/embeddings").stdout

    lines = [json.loads(line) for line in made.splitlines()]
    assert [line["body"] for line in lines] == [
        {"model": "m", "input": "One"},
        {"model": "m", "input": "Two"},
    ]
    assert ids(made) == ["row-1", "row-2"]


def test_results_become_a_table(tmp_path):
    body = {
        "choices": [{"message": {"content": 'a "b",\nc'}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    lines = [
        {"custom_id": "1", "response": {"status_code": 200, "body": body}, "error": None},
        {
            "custom_id": "2",
            "response": {"status_code": 404, "body": {"error": {"code": "absent", "message": "m"}}},
            "error": None,
        },
        {"custom_id": "3", "response": None, "error": {"code": "batch_expired", "message": "e"}},
    ]

    made = run("convert", "-", "--from", "results", stdin=encoded(lines)).stdout.decode()

    rows = list(csv.DictReader(io.StringIO(made, newline="")))
    assert [list(row.values()) for row in rows] == [
        ["1", "200", 'a "b",\nc', "stop", "3", "2", "", ""],
        ["2", "404", "", "", "", "", "absent", "m"],
        ["3", "", "", "", "", "", "batch_expired", "e"],
    ]


@pytest.mark.parametrize(
    ("content", "words", "told"),
    [
        ("a,b\n1\n", ["--prompt", "{{a}}"], "line 2 has 1 cells, not 2"),
        ("a,b\n1,2\n", [], "which column is the prompt?"),
        ("a,b\n1,2\n", ["--prompt", "{{c}}"], "there is no column c; there are a, b"),
        ("a,a\n1,2\n", [], "two columns of one name"),
        ("", [], "no line of titles"),
    ],
)
def test_a_table_that_cannot_be_converted_is_told(tmp_path, content, words, told):
    table = tmp_path / "in.csv"
    table.write_text(content)
    output = tmp_path / "out.jsonl"

    done = run("convert", table, "--model", "m", *words, "-o", output, code=2)

    assert told in done.stderr.decode()
    assert not output.exists()


def test_a_sample_is_chosen_by_its_seed_in_the_file_s_order(requests):
    first, again, other = [
        run("sample", requests, "-n", "4", "--seed", seed).stdout for seed in ("1", "1", "2")
    ]

    numbers = [int(name.removeprefix("line-")) for name in ids(first)]
    assert (first == again, first == other) == (True, False)
    assert numbers == sorted(numbers)
    assert len(numbers) == 4
    assert set(first.splitlines()) <= set(requests.read_bytes().splitlines())
    assert run("sample", requests, "-n", "99").stdout == requests.read_bytes()


def test_a_file_is_split_and_joined_again_byte_for_byte(requests, tmp_path):
    requests.write_bytes(requests.read_bytes().removesuffix(b"\n"))
    folder = tmp_path / "parts"

    by_number = run("split", requests, "-n", "4", "-o", folder).stdout.decode().splitlines()
    by_size = run("split", requests, "--size", "2k", "-o", tmp_path / "small").stdout.split()
    joined = run("merge", *by_number).stdout

    assert by_number == [str(folder / f"requests.000{n}.jsonl") for n in (1, 2, 3)]
    assert [len(Path(part).read_bytes().splitlines()) for part in by_number] == [4, 4, 2]
    assert joined == requests.read_bytes() + b"\n"
    assert max(Path(os.fsdecode(part)).stat().st_size for part in by_size) <= 2000
    assert run("merge", *map(os.fsdecode, by_size)).stdout == joined


def test_a_custom_id_that_occurs_twice_is_refused_or_renamed(requests, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_bytes(b'\xef\xbb\xbf{"custom_id": "line-3",  "n": 1e400}\r\n')
    target = tmp_path / "joined.jsonl"

    refused = run("merge", requests, other, "-o", target, code=4).stderr.decode()
    renamed = run("merge", other, requests, "--rename").stdout

    assert f"request 1 of {other}" in refused
    assert not target.exists()
    assert renamed.splitlines()[0] == b'{"custom_id": "other/line-3",  "n": 1e400}'
    assert ids(renamed)[1] == "requests/line-1"


def test_another_model_changes_no_other_byte(tmp_path):
    file = tmp_path / "in.jsonl"
    before = (
        b'\xef\xbb\xbf {"custom_id":"1" , "body" : {"big":123456789012345678901234567890,'
        b'"model" : "old", "x":"\\u00e5 model"} } \r\n'
        b"\n"
        b'{"custom_id":"2","body":{"model":"kept","model2":"old"}}\n'
        b'{"custom_id":"3","body":{}}'
    )
    file.write_bytes(before)

    every = run("set-model", file, 'new "one"')
    some = run("set-model", file, "new", "--from", "old")

    new = b'"new \\"one\\""'
    assert every.stdout == (
        before.replace(b'"model" : "old"', b'"model" : ' + new)
        .replace(b'"model":"kept"', b'"model":' + new)
        .replace(b'"body":{}', b'"body":{"model":' + new + b"}")
    )
    assert every.stderr == b"3 requests changed\n"
    assert some.stdout == before.replace(b'"model" : "old"', b'"model" : "new"')


def test_set_model_refuses_what_is_no_request(tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_bytes(b'{"body":{}}\n{"body":[]}\n')
    target = tmp_path / "out.jsonl"

    told = run("set-model", file, "m", "-o", target, code=2).stderr.decode()

    assert f"{file}: line 2 is no request" in told
    assert not target.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["check", "--max-requests", "1000000"],
        ["sample"],
        ["set-model", "other"],
        ["merge"],
        ["convert", "--from", "prompts", "--model", "m"],
    ],
    ids=lambda words: words[0],
)
def test_memory_does_not_grow_with_the_file(words, tmp_path, monkeypatch):
    monkeypatch.setenv("BATCH_GATEWAY_API__MAX_FILE_BYTES", str(1 << 30))
    small, large = tmp_path / "small.jsonl", tmp_path / "large.jsonl"
    body = '{"model":"m","messages":[{"role":"user","content":"' + "x" * 1500 + '"}]}'
    for path, count in ((small, 10), (large, 40_000)):
        with path.open("w") as file:
            for n in range(count):
                file.write(
                    f'{{"custom_id":"line-{n}","method":"POST","url":"{CHAT}","body":{body}}}\n'
                )
    command, *options = words

    least, most = (peak_memory(command, path, *options) for path in (small, large))

    assert large.stat().st_size > 60e6
    assert most - least < 24e6
