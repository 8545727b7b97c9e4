"""Draws faults for requests from a seed, so that a run can be repeated."""

import random
from collections import Counter

from batch_gateway.simulator.config import Fault, SimulatorConfig
from batch_gateway.simulator.hostile import HostileAnswer, draw_hostile


class FaultInjector:
    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config
        self._random = random.Random(config.seed)
        self._hostile = random.Random(config.seed)
        self._met: Counter[str] = Counter()  # faults by body digest

    def draw(self, body: bytes, digest: str) -> Fault | None:
        """The fault that this request meets; None: none."""
        config = self._config
        if not config.fault_rate:
            return None
        if config.fault_match is not None and config.fault_match.encode() not in body:
            return None
        if self._random.random() >= config.fault_rate:
            return None
        if config.fault_attempts is not None:
            if self._met[digest] >= config.fault_attempts:
                return None
            self._met[digest] += 1
        return self._random.choice(config.fault_kinds)

    def hostile_answer(self) -> HostileAnswer:
        """What a request says that meets the fault ``hostile``."""
        return draw_hostile(self._hostile)
