import json
import tracemalloc

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_gateway.core.ids import BatchId
from batch_gateway.core.lines import PartLine, encode_part_line, not_answered
from batch_gateway.services.assemble.merge import ResultMerge
from batch_gateway.services.assemble.result_collector import _joined


def encoded(number, *, ok=True, text=""):
    result = msgspec.Raw(json.dumps({"n": number, "text": text}).encode())
    return encode_part_line(PartLine(number, ok, (1, 0, 2, 0), result))


def merged(tmp_path, runs):
    merge = ResultMerge(tmp_path)
    for run in runs:
        merge.add_run(b"".join(run))
    chunks = {id(merge.output): b"", id(merge.error): b""}
    for product, chunk in merge.chunks():
        chunks[id(product)] += chunk
    merge.close()
    numbers = [
        [json.loads(line)["n"] for line in chunks[id(product)].splitlines()]
        for product in (merge.output, merge.error)
    ]
    return merge, *numbers


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 7)), max_size=60))
def test_runs_come_out_in_input_order_each_line_once(tmp_path, lines):
    runs = [[] for _ in range(8)]
    for number, (ok, run) in enumerate(lines, start=1):
        runs[run].append(encoded(number, ok=ok))

    merge, output, error = merged(tmp_path, runs)

    assert output == [n for n, (ok, _) in enumerate(lines, start=1) if ok]
    assert error == [n for n, (ok, _) in enumerate(lines, start=1) if not ok]
    assert merge.usage.input_tokens == len(lines)
    assert merge.usage.output_tokens == 2 * len(lines)


def test_the_first_result_of_a_line_wins(tmp_path):
    _, output, error = merged(tmp_path, [[encoded(1)], [encoded(1, ok=False), encoded(2)]])

    assert (output, error) == ([1, 2], [])


def test_lines_longer_than_a_read_buffer_come_out_whole(tmp_path):
    long = "x" * 1_500_000
    _, output, _ = merged(tmp_path, [[encoded(1, text=long), encoded(3)], [encoded(2, text=long)]])

    assert output == [1, 2, 3]


def test_size_and_hash_are_those_of_the_content(tmp_path):
    merge = ResultMerge(tmp_path)
    merge.add_run(
        encoded(1) + encode_part_line(not_answered(BatchId("b"), 2, "c", code="x", message="y"))
    )
    content = b"".join(chunk for product, chunk in merge.chunks() if product is merge.output)
    merge.close()

    assert merge.output.size == len(content)
    assert merge.output.lines == 1
    assert merge.error.lines == 1


@pytest.mark.parametrize("runs", [[], [[]]])
def test_nothing_gives_nothing(tmp_path, runs):
    merge, output, error = merged(tmp_path, runs)

    assert (output, error, merge.output.size) == ([], [], 0)


def test_long_lines_of_many_runs_are_not_in_memory_together(tmp_path):
    merge, runs = ResultMerge(tmp_path), 40
    for number in range(1, runs + 1):
        merge.add_run(encoded(number, text="x" * 1_000_000))

    tracemalloc.start()
    try:
        found = [len(chunk) for _, chunk in merge.chunks()]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        merge.close()

    assert sum(found) > runs * 1_000_000
    assert peak < 10_000_000


def test_large_runs_and_others_come_out_in_one_order_and_the_first_result_wins(tmp_path):
    merge = ResultMerge(tmp_path)
    merge.add_large_run([(5, encoded(5, text="x" * 300_000)), (2, encoded(2))])
    merge.add_run(encoded(1) + encoded(4))
    merge.add_large_run([])
    merge.add_large_run([(3, encoded(3)), (5, encoded(5, ok=False))])

    chunks = b"".join(chunk for _, chunk in merge.chunks())
    merge.close()

    assert [json.loads(line)["n"] for line in chunks.splitlines()] == [1, 2, 3, 4, 5]
    assert (merge.output.lines, merge.error.lines) == (5, 0)


def test_a_run_is_bound_and_written_without_a_second_copy_of_it(tmp_path):
    tracemalloc.start()
    try:
        lines = {n: encoded(n, text="x" * 500) for n in range(10_000, 0, -1)}
        run = _joined(b"order", lines)
        bound, peak = tracemalloc.get_traced_memory()
        assert not lines
        assert peak < 1.7 * len(run)
        merge = ResultMerge(tmp_path)
        tracemalloc.reset_peak()
        merge.add_run(run, len(b"order"))
        assert tracemalloc.get_traced_memory()[1] < bound + len(run) / 4
    finally:
        tracemalloc.stop()
    read = [chunk for _, chunk in merge.chunks()]
    merge.close()
    numbers = [json.loads(line)["n"] for line in b"".join(read).splitlines()]
    assert numbers == list(range(1, 10_001))
