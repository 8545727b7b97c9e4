"""Values and pure rules: no I/O, no clock, no randomness; ids and ``now`` are arguments."""
