"""FileRows: what every metadata store must do with files."""

from dataclasses import replace

import pytest
from fixtures.metadata import ALICE, BOB, SECOND, T0, a_file

from batch_gateway.core.errors import Conflict
from batch_gateway.core.ids import FileId
from batch_gateway.ports.metadata import MetadataStore


async def _ids(metadata: MetadataStore, **arguments: object) -> list[str]:
    page = await metadata.files.list(ALICE, **{"limit": 100, **arguments})
    assert page is not None
    return [file.id for file in page.items]


async def test_a_file_comes_back_as_it_was_added(metadata):
    plain = a_file()
    odd = a_file(
        filename='naïve "名前".jsonl', lines=None, expires_at=T0 + SECOND, size=8 * 1024**3
    )

    await metadata.files.add(plain)
    await metadata.files.add(odd)

    assert await metadata.files.get(ALICE, plain.id) == plain
    assert await metadata.files.get(ALICE, odd.id) == odd


async def test_adding_a_taken_id_is_a_conflict_and_changes_nothing(metadata):
    file = a_file()
    await metadata.files.add(file)

    with pytest.raises(Conflict):
        await metadata.files.add(replace(file, filename="other"))

    assert await metadata.files.get(ALICE, file.id) == file


async def test_another_tenants_file_is_not_there(metadata):
    file = a_file()
    await metadata.files.add(file)

    assert await metadata.files.get(BOB, file.id) is None
    assert await metadata.files.delete(BOB, file.id) is None
    assert await metadata.files.list(BOB, limit=10, after=file.id) is None
    assert (await metadata.files.list(BOB, limit=10)).items == []
    assert await metadata.files.get(ALICE, file.id) == file


async def test_a_deleted_file_is_returned_once_and_gone(metadata):
    file = a_file(expires_at=T0)
    await metadata.files.add(file)

    assert await metadata.files.delete(ALICE, file.id) == file

    assert await metadata.files.delete(ALICE, file.id) is None
    assert await metadata.files.get(ALICE, file.id) is None
    assert await _ids(metadata) == []
    assert await metadata.files.expired(T0 + SECOND, 10) == []


async def test_files_are_listed_by_creation_then_id_in_both_directions(metadata):
    late = a_file(created_at=T0 + SECOND)
    same = [a_file(), a_file(), a_file()]
    barely_later = a_file(created_at=T0 + SECOND / 1_000_000)
    for file in [late, *reversed(same), barely_later]:
        await metadata.files.add(file)
    ascending = [*(file.id for file in same), barely_later.id, late.id]

    assert await _ids(metadata, descending=False) == ascending
    assert await _ids(metadata) == ascending[::-1]


async def test_files_of_one_purpose_are_listed_alone(metadata):
    batch, output = a_file(), a_file(purpose="batch_output")
    await metadata.files.add(batch)
    await metadata.files.add(output)

    assert await _ids(metadata, purpose="batch_output") == [output.id]
    assert await _ids(metadata, purpose="batch_output", after=batch.id, descending=False) == [
        output.id
    ]
    assert await _ids(metadata, purpose="vision") == []


async def test_a_page_tells_whether_another_follows(metadata):
    for _ in range(3):
        await metadata.files.add(a_file())

    two = await metadata.files.list(ALICE, limit=2)
    three = await metadata.files.list(ALICE, limit=3)

    assert (len(two.items), two.more) == (2, True)
    assert (len(three.items), three.more) == (3, False)


async def test_an_offset_passes_over_files_of_the_listing(metadata):
    files = [a_file(created_at=T0 + n * SECOND) for n in range(4)]
    for file in files:
        await metadata.files.add(file)
    await metadata.files.add(a_file(purpose="vision"))
    ids = [file.id for file in files]

    assert await _ids(metadata, purpose="batch", offset=1) == ids[2::-1]
    assert await _ids(metadata, purpose="batch", offset=3, descending=False) == ids[3:]
    assert await _ids(metadata, purpose="batch", offset=1, after=ids[3]) == ids[1::-1]
    assert await _ids(metadata, offset=5) == []
    assert (await metadata.files.list(ALICE, limit=2, offset=1)).more


@pytest.mark.parametrize("descending", [True, False])
async def test_paging_visits_each_file_once_while_files_are_added(metadata, descending):
    files = [a_file(created_at=T0 + (n // 3) * SECOND) for n in range(10)]
    for file in files:
        await metadata.files.add(file)
    step = 100 * SECOND if descending else -100 * SECOND  # beyond what is visited already

    seen, after, more = [], None, True
    while more:
        page = await metadata.files.list(ALICE, limit=3, after=after, descending=descending)
        seen += [file.id for file in page.items]
        after, more = seen[-1], page.more
        await metadata.files.add(a_file(created_at=T0 + step))

    expected = [file.id for file in files]
    assert seen == (expected[::-1] if descending else expected)


async def test_an_unknown_cursor_is_no_page(metadata):
    await metadata.files.add(a_file())

    assert await metadata.files.list(ALICE, limit=10, after=FileId("file-unknown")) is None


async def test_expired_files_of_all_tenants_come_in_order_of_expiry(metadata):
    kept = a_file(expires_at=None)
    later = a_file(expires_at=T0 + 2 * SECOND)
    second = a_file(expires_at=T0 + SECOND)
    first = a_file(expires_at=T0, tenant=BOB)
    for file in (kept, later, second, first):
        await metadata.files.add(file)

    assert await metadata.files.expired(T0 + SECOND, 10) == [first, second]
    assert await metadata.files.expired(T0 + SECOND, 1) == [first]


async def test_files_of_any_tenant_can_be_asked_for_together(metadata):
    mine, theirs = a_file(), a_file(tenant=BOB)
    await metadata.files.add(mine)
    await metadata.files.add(theirs)

    found = await metadata.files.existing([mine.id, FileId("file-none"), theirs.id])

    assert set(found) == {mine.id, theirs.id}
    assert not await metadata.files.existing([])
