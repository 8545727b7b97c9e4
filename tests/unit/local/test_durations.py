"""Durations in Eventing's and in Serving's spelling."""

import pytest

from batch_gateway.local.durations import TimeScale, go_seconds, iso_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT2S", 2), ("PT0.2S", 0.2), ("PT10M", 600), ("P1DT2H3M4S", 93784), ("P2D", 172800)],
)
def test_iso_8601_durations_are_read(text, seconds):
    assert iso_seconds(text) == seconds


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("1m30s", 90), ("1h", 3600), ("0s", 0)])
def test_go_durations_are_read(text, seconds):
    assert go_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "P", "PT", "2S", "60", "PT2", "PT2S "])
def test_anything_else_is_no_iso_duration(text):
    with pytest.raises(ValueError, match="is not a duration"):
        iso_seconds(text)


@pytest.mark.parametrize("text", ["", "60", "PT2S", "s", "1s1m"])
def test_anything_else_is_no_go_duration(text):
    with pytest.raises(ValueError, match="is not a duration"):
        go_seconds(text)


def test_a_speed_up_divides():
    assert TimeScale(speed_up=20)(60) == 3
