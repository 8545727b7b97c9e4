"""What every LineIndex promises."""

import random
from pathlib import Path

import pytest

from batch_gateway.adapters.memory_line_index import MemoryLineIndexes
from batch_gateway.adapters.sqlite_line_index import SqliteLineIndexes
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.planning import INVALID, LineRef, ReusedAnswer
from batch_gateway.ports.line_index import LineIndexes


@pytest.fixture(params=["sqlite", "memory"])
def indexes(request: pytest.FixtureRequest, tmp_path: Path) -> LineIndexes:
    if request.param == "memory":
        return MemoryLineIndexes()
    return SqliteLineIndexes(tmp_path / "scratch")


def ref(
    line: int, *, model: str = "m", prefix: bytes = b"", custom_id: int | None = None
) -> LineRef:
    """A reference whose custom_id is its line number unless another is given."""
    return LineRef(
        line=line,
        offset=line * 1000,
        length=999,
        model=model,
        prefix=prefix,
        cost=10,
        custom_id_hash=(line if custom_id is None else custom_id).to_bytes(16, "big"),
    )


def order(one: LineRef) -> tuple[str, bytes, int]:
    return (one.model, one.prefix, one.line)


def test_an_empty_index_has_nothing(indexes: LineIndexes):
    with indexes.open() as index:
        index.add([])

        assert [*index.ordered()] == []
        assert index.duplicates(10) == []


def test_references_come_back_as_they_were_added(indexes: LineIndexes):
    huge = ref(2**40)._replace(offset=2**50, length=2**34, cost=2**40, prefix=bytes(range(256)))

    with indexes.open() as index:
        index.add([huge])

        assert [*index.ordered()] == [huge]
        assert isinstance(next(index.ordered()), LineRef)


def test_references_are_ordered_by_model_prefix_and_line(indexes: LineIndexes):
    refs = [
        ref(1, model="b", prefix=b"\x02"),
        ref(2, model="a", prefix=b"\xff"),
        ref(3, model="a", prefix=b"\x01\x01"),
        ref(4, model="a", prefix=b"\x01"),
        ref(5, model="a", prefix=b""),
        ref(6, model="é", prefix=b""),
        ref(7, model="B", prefix=b"\x00"),
        ref(8, model="a", prefix=b"\x01"),
        ref(9, model="a b", prefix=b"\x00\x00"),
    ]

    with indexes.open() as index:
        index.add(refs)
        ordered = [one.line for one in index.ordered()]

    assert ordered == [7, 5, 4, 8, 3, 2, 9, 1, 6]
    assert ordered == [one.line for one in sorted(refs, key=order)]


def test_many_references_added_in_steps_come_out_as_one_order(indexes: LineIndexes):
    chance = random.Random(3)
    refs = [
        ref(n, model=f"m{chance.randrange(3)}", prefix=chance.randbytes(chance.randrange(4)))
        for n in range(1, 20_001)
    ]

    with indexes.open() as index:
        for start in range(0, len(refs), 3000):
            index.add(iter(refs[start : start + 3000]))
        ordered = [*index.ordered()]

    assert ordered == sorted(refs, key=order)


def test_later_lines_of_a_custom_id_are_duplicates(indexes: LineIndexes):
    with indexes.open() as index:
        index.add(ref(n, custom_id=n % 5) for n in range(100, 112))

        assert index.duplicates(100) == [105, 106, 107, 108, 109, 110, 111]


def test_the_first_duplicates_are_reported_up_to_the_limit(indexes: LineIndexes):
    with indexes.open() as index:
        index.add(ref(n, custom_id=n // 2) for n in range(2, 2000))

        assert index.duplicates(3) == [3, 5, 7]


def test_duplicates_are_made_invalid_and_come_first(indexes: LineIndexes):
    with indexes.open() as index:
        index.add(ref(n, prefix=b"p", custom_id=n % 3) for n in range(1, 7))
        index.invalidate_duplicates()

        found = [(one.line, one.model, one.prefix, one.cost) for one in index.ordered()]

    invalid = [(n, INVALID, b"", 0) for n in (4, 5, 6)]
    assert found == invalid + [(n, "m", b"p", 10) for n in (1, 2, 3)]


def test_indexes_that_are_open_together_do_not_mix(indexes: LineIndexes):
    with indexes.open() as one, indexes.open() as other:
        one.add([ref(1)])
        other.add([ref(1), ref(2)])

        assert [*one.ordered()] == [ref(1)]
        assert [*other.ordered()] == [ref(1), ref(2)]


def test_an_open_index_has_no_file_that_could_be_left_behind(tmp_path: Path):
    with SqliteLineIndexes(tmp_path).open() as index:
        index.add(ref(n, prefix=bytes(200)) for n in range(1, 100_000))

        assert [*tmp_path.iterdir()] == []
        assert sum(1 for _ in index.ordered()) == 99_999


def test_a_scratch_folder_that_cannot_be_used_is_unavailable(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")

    with (
        pytest.raises(Unavailable, match="line index in"),
        SqliteLineIndexes(tmp_path / "file").open(),
    ):
        pytest.fail("there is no folder")


def test_an_error_of_the_user_passes_through(indexes: LineIndexes):
    with pytest.raises(ZeroDivisionError), indexes.open():
        raise ZeroDivisionError


# -- answers ---------------------------------------------------------------------------------------


def an_answer(custom_id: int, file: int = 0) -> ReusedAnswer:
    return ReusedAnswer(custom_id.to_bytes(16, "big"), file, custom_id * 2**33, 7)


def test_answered_lines_are_told_by_line_and_not_in_the_order(indexes: LineIndexes):
    with indexes.open() as index:
        index.add([ref(line, model="ba"[line % 2]) for line in range(1, 8)])
        index.answer([an_answer(5), an_answer(99)])
        index.answer([an_answer(2, file=1)])

        assert [line.line for line in index.ordered()] == [1, 3, 7, 4, 6]
        assert [*index.answered()] == [(2, an_answer(2, file=1)), (5, an_answer(5))]


def test_of_several_answers_the_first_counts(indexes: LineIndexes):
    with indexes.open() as index:
        index.add([ref(1)])
        index.answer([an_answer(1, file=0)])
        index.answer([an_answer(1, file=1)])

        assert [*index.answered()] == [(1, an_answer(1, file=0))]


def test_an_invalid_line_is_never_answered(indexes: LineIndexes):
    with indexes.open() as index:
        index.add([ref(1), ref(2, custom_id=1), ref(3, model=INVALID)])
        index.invalidate_duplicates()
        index.answer([an_answer(1), an_answer(3)])

        assert [line for line, _ in index.answered()] == [1]
        assert [line.line for line in index.ordered()] == [2, 3]


def test_without_answers_nothing_is_answered(indexes: LineIndexes):
    with indexes.open() as index:
        index.add([ref(1)])

        assert [*index.answered()] == []
        index.answer([])
        assert ([*index.answered()], [*index.ordered()]) == ([], [ref(1)])


# -- twins -----------------------------------------------------------------------------------------


def a_twin(line: int, twin: int, **changes) -> LineRef:
    return ref(line, **changes)._replace(twin=twin.to_bytes(16, "big"))


def test_lines_with_the_same_twin_become_copies_of_the_first(indexes: LineIndexes):
    with indexes.open() as index:
        index.add([ref(1), a_twin(2, 7), ref(3), a_twin(4, 8), a_twin(5, 7), a_twin(6, 7)])
        index.add([a_twin(7, 8, model="n"), ref(8)])

        spared = index.join_twins(10)

        assert spared == {"m": (2, 20), "n": (1, 10)}
        assert [(one.line, one.copies) for one in index.ordered()] == [
            (1, 0),
            (2, 2),
            (3, 0),
            (4, 1),
            (8, 0),
        ]
        assert [one.line for one in index.copies(2)] == [5, 6]
        assert [one.line for one in index.copies(4)] == [7]
        assert index.copies(3) == []
        assert index.copies(2)[0]._replace(copies=0) == a_twin(5, 7)


def test_no_more_go_together_than_asked(indexes: LineIndexes):
    with indexes.open() as index:
        index.add([a_twin(line, 1) for line in range(1, 9)])

        assert index.join_twins(3) == {"m": (5, 50)}
        assert [(one.line, one.copies) for one in index.ordered()] == [(1, 2), (4, 2), (7, 1)]


def test_answered_and_invalid_lines_have_no_copies_and_are_none(indexes: LineIndexes):
    with indexes.open() as index:
        index.add([a_twin(line, 1) for line in (1, 2, 3)])
        index.add([a_twin(4, 1, custom_id=2), a_twin(5, 1)])
        index.invalidate_duplicates()
        index.answer([an_answer(1)])

        assert index.join_twins(10) == {"m": (2, 20)}
        assert [(one.line, one.copies) for one in index.ordered()] == [(4, 0), (2, 2)]
        assert [line for line, _ in index.answered()] == [1]


def test_without_twins_there_are_no_copies(indexes: LineIndexes):
    with indexes.open() as index:
        index.add([ref(1), ref(2)])

        assert index.join_twins(10) == {}
        assert [one.copies for one in index.ordered()] == [0, 0]
