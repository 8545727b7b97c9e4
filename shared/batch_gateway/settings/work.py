"""Settings of planning, execution, retention and the janitor."""

from batch_gateway.settings.base import Count, Positive, Seconds, SettingsGroup


class PlanningSettings(SettingsGroup):
    shard_lines: Positive = 500
    """Most request lines of a shard: the unit of redelivery after a crash, and of fairness."""
    shard_bytes: Positive = 4 * 1024 * 1024
    """Approximate maximum size of a shard's object; an executor holds it in memory."""
    shard_tokens: Positive = 1_000_000
    """Approximate maximum of estimated tokens (prompts and answers) of a shard."""
    max_line_bytes: Positive = 16 * 1024 * 1024
    """Longest single request line."""
    max_models: Positive = 1000
    """Most different models that the lines of one batch may name; each needs a shard of its own."""
    max_errors: Positive = 1000
    """Most entries of a failed batch's error list."""


class ExecutionSettings(SettingsGroup):
    soft_budget_s: Seconds = 240
    """Time after which an activation starts no more calls. Well below the platform's request
    timeout of 600 s."""
    hard_budget_s: Seconds = 540
    """Time after which an activation aborts running calls. The remaining minute is for releasing
    its shards."""
    max_activations: Positive = 8
    """Most executor requests open at once; at least the executor Service's max-scale."""
    term_grace_s: Seconds = 20
    """How long running calls may continue after SIGTERM. Below the grace period of 30 s that many
    clusters give."""
    max_calls: Positive = 256
    """Most calls that one activation has in flight; further slots start further activations."""
    answer_memory_bytes: Positive = 128 * 1024 * 1024
    """Bytes of answers that one executor process holds in memory: those it is reading, and results
    that wait to be stored. Beyond that it reads one answer at a time, and the others wait, which
    does not count for their time-outs."""
    max_leases: Positive = 16
    """Maximum number of shards of one model that one activation leases at once, without blocked
    ones; four times as many over all models. A shard of fewer than 64 lines counts as a part of
    one. Bounds its memory, and the work that a crash delays."""
    flush_interval_s: Seconds = 1.0
    """Interval at which results are stored: a crash loses at most this much finished work."""
    flush_results: Positive = 256
    """Number of results that are stored at once at the latest: a crash loses at most this many."""
    lease_ttl_s: Seconds = 15
    """How long a lease lasts without a heartbeat; then another executor reclaims the shard."""
    heartbeat_s: Seconds = 5
    """Interval of heartbeats, and of checks for cancellation, pause and deadline in the
    database."""
    slot_sync_s: Seconds = 0.2
    """Interval at which grants are renewed, and slots move between executors."""
    slot_ttl_s: Seconds = 5
    """Lifetime of a grant after the last sync of its holder. A holder that cannot sync aborts its
    calls before."""
    idle_exit_s: Seconds = 6
    """How long an activation without work or slots waits before it ends. Longer than the
    registration of a dead activation lasts."""
    fence_s: Seconds = 30
    """How long executors may take to release the shards of a cancelled or expired batch; then the
    shards are reclaimed."""
    assembly_ttl_s: Seconds = 15
    """How long the lease of an assembly lasts without renewal; then another assembler takes
    over."""
    complete_bytes: Count = 1024 * 1024
    """Up to so many bytes of results, the executor that finishes a batch of one shard completes the
    batch itself, without the assembler; 0: the assembler completes every batch."""
    assembly_run_bytes: Positive = 4 * 1024 * 1024
    """Approximate size of the pieces, in bytes, in which an assembler stores collected results.
    After a crash the next one reads at most one piece again from small objects. A piece is held in
    memory."""


def budget_problem(execution: ExecutionSettings, longest_call_s: float) -> str | None:
    """Why a call of ``longest_call_s`` seconds can never end; None: it can."""
    if longest_call_s <= execution.hard_budget_s:
        return None
    return (
        f"setting execution.hard_budget_s: {execution.hard_budget_s:g} s are less than the longest"
        f" timeout_s of a call, {longest_call_s:g} s; allowed: at least that"
        " (BATCH_GATEWAY_EXECUTION__HARD_BUDGET_S)"
    )


class BatchSettings(SettingsGroup):
    retention_s: Count = 90 * 86400
    """How long in seconds a batch that has ended is kept before it is deleted; 0: for ever. Its
    files have an expiry of their own."""


class SweepSettings(SettingsGroup):
    every_s: Seconds = 60.0
    """Interval of sweeps while there is work."""
    budget_s: Seconds = 540.0
    """Maximum duration of one janitor run, in seconds; a new run then continues. Below the
    platform's request timeout of 600 s."""
    absence_s: Seconds = 660.0
    """Longest time between two timer ticks of the janitor. A run that finds work due within this
    time continues until then. A little more than the period of the janitor's PingSource."""
    interval_s: Seconds = 3.0
    """Timer ticks of the janitor are unsigned; within this time only the first one starts a
    sweep."""
    step_budget_s: Seconds = 30.0
    """Maximum duration of one step of a sweep. The next sweep follows at once and continues."""
    unsent_s: Seconds = 10.0
    """Age at which an event in the outbox counts as not sent. Longer than events.timeout_s."""
    stuck_s: Seconds = 60.0
    """Age at which a waiting batch counts as stuck; its event is published again, which is
    harmless."""
    leftovers_s: Seconds = 86400.0
    """Age at which unfinished writes, and blobs that no row names, are deleted."""
    recount_s: Seconds = 86400.0
    """Interval at which the usage of each tenant is counted again. This repairs differences between
    releases during a rollout."""
