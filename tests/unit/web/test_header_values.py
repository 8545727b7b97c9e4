"""Headers with parameters, as they come and as they are sent."""

from urllib.parse import unquote

import pytest
from fixtures.growth import assert_linear
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.filenames import LONGEST_NAME, safe_name, shortened
from batch_gateway.web.header_values import attachment, parse_header


@given(st.binary(max_size=200) | st.text(alphabet="ab=;\"\\*%'?Q", max_size=60).map(str.encode))
def test_any_header_is_taken_apart_without_an_error(raw):
    found = parse_header(raw)

    for name in (*found.parameters, "filename", "name"):
        found.text(name)


@given(st.text(max_size=60))
def test_what_is_sent_is_one_line_of_ascii_that_gives_the_name_back(filename):
    header = attachment(filename)

    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
    assert parse_header(header).text("filename") == filename
    assert unquote(header.partition("UTF-8''")[2]) == filename


@given(st.text(max_size=60))
def test_a_safe_name_is_printable_without_folders_and_stays_itself(name):
    safe = safe_name(name)

    assert safe
    assert safe.isprintable()
    assert not set("/\\") & set(safe)
    assert safe_name(safe) == safe


def test_lone_surrogates_and_folders_never_stay():
    assert safe_name("a/\udcff../\ud800.jsonl") == ".jsonl"
    assert safe_name("..") == safe_name("\r\n") == safe_name("a/") == "upload"


def test_a_lone_surrogate_in_a_stored_name_does_not_break_a_download():
    assert (
        attachment("\ud800.jsonl") == "attachment; filename=\"_.jsonl\"; filename*=UTF-8''%3F.jsonl"
    )


def test_a_shortened_name_keeps_its_extension():
    assert shortened("x" * 600 + ".jsonl") == "x" * (LONGEST_NAME - 6) + ".jsonl"
    assert len(shortened("." + "x" * 600)) == LONGEST_NAME
    assert shortened("in.jsonl") == "in.jsonl"


@pytest.mark.parametrize(
    "piece",
    [b";", b'a="', b'\\"', b';a="\\', b"=?utf-8?Q?", b";filename*=a'b", b" \t", b"%", b"=?=?"],
)
def test_the_time_grows_with_the_length(piece):
    def parse(text: bytes) -> None:
        parse_header(text).text("filename")

    assert_linear(parse, lambda times: b'form-data; filename="' + piece * times)
