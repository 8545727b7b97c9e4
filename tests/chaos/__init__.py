"""Random faults under load, drawn from a seed: ``make chaos``; described in docs/chaos.md."""
