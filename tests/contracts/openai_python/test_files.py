"""``client.files``."""

import io
import json
from pathlib import Path

import httpx
import openai
import pytest
from fixtures.api import headers_of
from openai import OpenAI

LINE = (
    b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions",'
    b'"body":{"model":"m","messages":[]}}\n'
)
DAY = 86400
NOT_JSONL = "Invalid file format for Batch API. Must be .jsonl"


def add(client, content=LINE, *, name="in.jsonl", purpose="batch", **more):
    return client.files.create(file=(name, content), purpose=purpose, **more)


def test_check_1_a_batch_file_is_processed_at_once_and_kept_for_30_days(client):
    file = add(client)

    assert (file.object, file.purpose, file.status) == ("file", "batch", "processed")
    assert (file.filename, file.bytes) == ("in.jsonl", len(LINE))
    assert file.expires_at == file.created_at + 30 * DAY
    assert file.status_details is None


@pytest.mark.parametrize("purpose", ["assistants", "fine-tune", "vision", "user_data", "evals"])
def test_a_file_of_another_purpose_is_kept_for_ever(client, purpose):
    file = add(client, b"\x00\xff", name="any.bin", purpose=purpose)

    assert (file.purpose, file.expires_at) == (purpose, None)


@pytest.mark.parametrize("seconds", [3600, 30 * DAY])
def test_check_2_a_lifetime_within_bounds_is_kept(client, seconds):
    file = add(client, expires_after={"anchor": "created_at", "seconds": seconds})

    assert file.expires_at == file.created_at + seconds


@pytest.mark.parametrize("seconds", [3599, 30 * DAY + 1, -1, 0])
def test_check_2_a_lifetime_out_of_bounds_is_refused(client, seconds):
    with pytest.raises(openai.BadRequestError) as refused:
        add(client, expires_after={"anchor": "created_at", "seconds": seconds})

    assert refused.value.param == "expires_after.seconds"


def test_check_3_a_lifetime_needs_an_anchor(client):
    with pytest.raises(openai.BadRequestError) as refused:
        add(client, expires_after={"seconds": 3600})

    assert refused.value.code == "missing_required_parameter"
    assert refused.value.param == "expires_after.anchor"


def test_a_lifetime_has_only_one_anchor(client):
    with pytest.raises(openai.BadRequestError) as refused:
        add(client, expires_after={"anchor": "last_active_at", "seconds": 3600})

    assert (refused.value.param, refused.value.code) == ("expires_after.anchor", "invalid_value")


def test_check_4_the_client_sends_the_lifetime_in_brackets(client):
    add(client, expires_after={"anchor": "created_at", "seconds": 3600})

    form = client.sent[-1].read()
    assert b'name="expires_after[anchor]"' in form
    assert form.index(b'name="purpose"') < form.index(b'name="file"')


def test_check_5_the_file_may_come_before_its_purpose(server, tenant):
    form = [("file", ("in.jsonl", LINE)), ("purpose", (None, b"batch"))]

    answer = httpx.post(f"{server.url}/v1/files", files=form, headers=headers_of(tenant))

    assert answer.json()["purpose"] == "batch"


def test_check_6_an_unknown_purpose_is_refused(client):
    with pytest.raises(openai.BadRequestError) as refused:
        add(client, purpose="foo")

    assert (refused.value.param, refused.value.code) == ("purpose", "invalid_value")


def test_check_7_a_form_without_a_file_is_refused(server, tenant):
    form = {"purpose": (None, b"batch")}

    answer = httpx.post(f"{server.url}/v1/files", files=form, headers=headers_of(tenant))

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "file"


def test_check_8_what_is_not_named_as_jsonl_is_refused_as_a_batch_file(client):
    with pytest.raises(openai.BadRequestError, match=NOT_JSONL) as refused:
        add(client, LINE, name="x.txt")

    assert refused.value.body == {
        "message": NOT_JSONL,
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_check_11_only_the_first_line_is_looked_at(client):
    assert add(client, LINE + b"{oops\n").status == "processed"


def test_check_12_a_file_that_is_too_large_is_400(serve, tenant):
    with (
        serve(max_file_bytes=1000) as server,
        OpenAI(
            base_url=f"{server.url}/v1", api_key="any", default_headers=headers_of(tenant)
        ) as client,
    ):
        whole = add(client, LINE + b" " * (1000 - len(LINE)))
        with pytest.raises(openai.BadRequestError) as refused:
            add(client, LINE + b" " * (1001 - len(LINE)))

    assert whole.bytes == 1000
    assert refused.value.body["message"] == "File is too large."


@pytest.mark.parametrize("verb", ["retrieve", "delete", "content"], ids=["13", "15", "content"])
def test_checks_13_15_an_unknown_file_is_404(client, verb):
    with pytest.raises(openai.NotFoundError) as missing:
        getattr(client.files, verb)("file-abc123")

    assert missing.value.body["message"] == "No such File object: file-abc123"
    assert (missing.value.param, missing.value.code) == ("id", None)


def test_check_14_a_deleted_file_is_gone(client):
    file = add(client)

    deleted = client.files.delete(file.id)

    assert deleted.to_dict() == {"id": file.id, "object": "file", "deleted": True}
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    assert client.files.list().data == []


def test_check_18_content_comes_back_byte_for_byte(client):
    file = add(client, LINE * 3)

    content = client.files.content(file.id)

    assert content.content == LINE * 3
    assert content.response.headers["content-type"] == "application/octet-stream"
    assert 'filename="in.jsonl"' in content.response.headers["content-disposition"]
    assert client.sent[-1].headers["accept"] == "application/binary"


@pytest.mark.parametrize("purpose", ["user_data", "assistants"])
def test_check_19_content_that_is_not_for_reading_is_refused(client, purpose):
    file = add(client, b"x", name="a.txt", purpose=purpose)

    with pytest.raises(openai.BadRequestError) as refused:
        client.files.content(file.id)

    assert refused.value.body["message"] == (f"Not allowed to download files of purpose: {purpose}")


def test_check_20_files_are_listed_newest_first(client):
    names = [add(client, name=f"{n}.jsonl").id for n in range(3)]

    assert [file.id for file in client.files.list()] == names[::-1]
    assert [file.id for file in client.files.list(order="asc")] == names


def test_check_20_files_are_listed_by_purpose(client):
    add(client)
    seen = add(client, b"x", name="x.png", purpose="vision")

    assert [file.id for file in client.files.list(purpose="vision")] == [seen.id]
    assert client.files.list(purpose="nobody-has-this").data == []


@pytest.mark.parametrize(
    ("limit", "code"),
    [(10001, "integer_above_max_value"), (0, "integer_below_min_value")],
    ids=["check-21", "check-22"],
)
def test_checks_21_22_a_page_has_1_to_10000_files(client, limit, code):
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.list(limit=limit)

    assert (refused.value.param, refused.value.code) == ("limit", code)


def test_check_23_an_unknown_order_is_refused(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.list(order="sideways")

    assert (refused.value.param, refused.value.code) == ("order", "invalid_value")


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_check_24_paging_visits_each_file_once(client, order):
    names = [add(client).id for _ in range(7)]

    visited = [file.id for file in client.files.list(limit=3, order=order)]

    assert visited == (names if order == "asc" else names[::-1])
    assert sum(request.method == "GET" for request in client.sent) == 3


def test_check_25_an_empty_list_has_no_ends(client):
    page = client.files.list()

    assert (page.data, page.has_more) == ([], False)
    assert (page.first_id, page.last_id) == (None, None)


def test_a_page_names_its_ends(client):
    names = [add(client).id for _ in range(3)]

    page = client.files.list(limit=2)

    assert (page.first_id, page.last_id, page.has_more) == (names[2], names[1], True)


def test_paging_after_somebody_elses_file_is_refused(client, stranger):
    file = add(client)

    with pytest.raises(openai.BadRequestError) as refused:
        stranger.files.list(after=file.id)

    assert refused.value.param == "after"


@pytest.mark.parametrize("verb", ["retrieve", "delete", "content"])
def test_somebody_elses_file_does_not_exist(client, stranger, verb):
    file = add(client)

    with pytest.raises(openai.NotFoundError):
        getattr(stranger.files, verb)(file.id)
    assert client.files.retrieve(file.id) == file


# -- the ways in which clients hand files over ------------------------------------------------


def test_a_path_is_uploaded_with_its_name(client, tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_bytes(LINE)

    assert client.files.create(file=path, purpose="batch").filename == "requests.jsonl"


def test_an_open_file_is_uploaded_with_its_name(client, tmp_path):
    path = Path(tmp_path) / "open.jsonl"
    path.write_bytes(LINE)

    with path.open("rb") as content:
        file = client.files.create(file=content, purpose="batch")

    assert (file.filename, file.bytes) == ("open.jsonl", len(LINE))


def test_a_stream_without_a_name_is_a_batch_file_unless_the_mode_is_strict(client, mode):
    stream = io.BytesIO(LINE)

    if mode == "strict":
        with pytest.raises(openai.BadRequestError, match=NOT_JSONL):
            client.files.create(file=stream, purpose="batch")
    else:
        assert client.files.create(file=stream, purpose="batch").filename == "upload"


def test_a_content_type_of_ones_own_changes_nothing(client):
    given = ("in.jsonl", LINE, "application/jsonl")

    assert client.files.create(file=given, purpose="batch").bytes == len(LINE)


@pytest.mark.parametrize("name", ["größe.jsonl", "日本.jsonl", "a b;c.jsonl"])
def test_a_file_keeps_its_name(client, name):
    file = add(client, name=name)

    assert client.files.retrieve(file.id).filename == name


def test_folders_are_no_part_of_a_name(client):
    assert add(client, name="../../etc/in.jsonl").filename == "in.jsonl"


def test_waiting_for_a_file_ends_at_once(client):
    file = add(client)

    assert client.files.wait_for_processing(file.id, poll_interval=60) == file


def test_an_unknown_parameter_is_refused(client):
    with pytest.raises(openai.BadRequestError, match="Unrecognized request argument supplied: x"):
        add(client, extra_body={"x": "1"})


# -- raw and streamed answers -----------------------------------------------------------------


def test_a_raw_answer_has_its_headers_and_its_object(client):
    raw = client.files.with_raw_response.create(file=("in.jsonl", LINE), purpose="batch")

    assert raw.status_code == 200
    assert raw.headers["openai-version"] == "2020-10-01"
    assert int(raw.headers["openai-processing-ms"]) >= 0
    assert raw.parse().filename == "in.jsonl"
    assert raw.request_id == raw.headers["x-request-id"]


def test_content_streams(client):
    content = LINE * 40_000
    file = add(client, content)

    with client.files.with_streaming_response.content(file.id) as stream:
        received = b"".join(stream.iter_bytes(65536))

    assert received == content


def test_content_streams_line_by_line(client):
    file = add(client, LINE * 5)

    with client.files.with_streaming_response.content(file.id) as stream:
        lines = [json.loads(line)["custom_id"] for line in stream.iter_lines()]

    assert lines == ["1"] * 5


def test_content_is_written_to_a_file(client, tmp_path):
    file = add(client, LINE * 5)

    client.files.content(file.id).write_to_file(tmp_path / "out.jsonl")

    assert (tmp_path / "out.jsonl").read_bytes() == LINE * 5


@pytest.mark.parametrize(
    ("range_", "first", "end"),
    [("bytes=0-9", 0, 10), ("bytes=10-", 10, None), ("bytes=-5", -5, None)],
)
def test_a_download_goes_on_where_it_broke_off(client, range_, first, end):
    file = add(client, LINE * 2)

    part = client.files.content(file.id, extra_headers={"Range": range_})

    assert part.response.status_code == 206
    assert part.content == (LINE * 2)[first:end]


def test_a_range_beyond_the_end_is_416(client):
    file = add(client)

    with pytest.raises(openai.APIStatusError) as refused:
        client.files.content(file.id, extra_headers={"Range": "bytes=10000-"})

    assert refused.value.status_code == 416
    assert refused.value.response.headers["content-range"] == f"bytes */{len(LINE)}"
