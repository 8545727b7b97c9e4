import pytest

from batch_gateway.simulator.config import SimulatorConfig


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"slots": 0}, "slots"),
        ({"queue": -1}, "queue"),
        ({"fault_rate": 1.5}, "fault_rate"),
        ({"fault_kinds": ["fire"]}, "fault_kinds"),
        ({"refuse_status": 500}, "refuse_status"),
        ({"speed_up": 0}, "speed_up"),
        ({"models": []}, "models"),
        ({"slotz": 1}, "slotz"),
    ],
)
def test_a_wrong_field_is_named(fields, named):
    with pytest.raises(ValueError, match=named):
        SimulatorConfig.checked(**fields)


def test_a_change_keeps_the_other_fields():
    config = SimulatorConfig.checked(slots=3, ttft_ms=7)

    changed = config.changed({"slots": 4})

    assert (changed.slots, changed.ttft_ms) == (4, 7)
