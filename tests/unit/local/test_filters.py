"""Which events a Trigger is for."""

import pytest

from batch_gateway.local.broker.filters import compiled

EVENT = {"type": "dev.a.created.v1", "source": "/a", "subject": "x"}


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        ([], True),
        ([{"attributes": {}}], True),
        ([{"attributes": {"type": "dev.a.created.v1"}}], True),
        ([{"attributes": {"type": "dev.a"}}], False),
        ([{"attributes": {"subject": ""}}], True),
        ([{"attributes": {"absent": ""}}], False),
        ([{"exact": {"source": "/a", "subject": "x"}}], True),
        ([{"exact": {"source": "/a", "subject": "y"}}], False),
        ([{"prefix": {"type": "dev.a."}}], True),
        ([{"suffix": {"type": ".v2"}}], False),
        ([{"not": {"suffix": {"type": ".v2"}}}], True),
        ([{"not": {"exact": {"absent": "x"}}}], True),
        ([{"all": [{"prefix": {"type": "dev"}}, {"suffix": {"type": "v1"}}]}], True),
        ([{"any": [{"exact": {"type": "x"}}, {"exact": {"source": "/a"}}]}], True),
        ([{"any": []}], False),
        ([{"prefix": {"type": "dev"}}, {"exact": {"source": "/b"}}], False),
    ],
)
def test_all_filters_must_hold(filters, matches):
    assert compiled(filters)(EVENT) is matches


@pytest.mark.parametrize("filter_", [{"cesql": "type = 'x'"}, {}, {"exact": {}, "prefix": {}}])
def test_an_unknown_dialect_is_refused(filter_):
    with pytest.raises(ValueError, match=r"dialect"):
        compiled([filter_])
