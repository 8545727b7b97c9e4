"""How batches are planned and worked on, and what is repaired when."""

from batch_gateway.settings.base import Count, Group, Positive, Seconds


class Planning(Group):
    shard_lines: Positive = 500
    """Most request lines of a shard: what a crash may hand to another executor, and the grain of
    fairness."""
    shard_bytes: Positive = 4 * 1024 * 1024
    """About how large a shard's object may be; an executor holds it in memory."""
    shard_tokens: Positive = 1_000_000
    """About how many estimated tokens, prompts and answers, a shard may have."""
    max_line_bytes: Positive = 16 * 1024 * 1024
    """Longest single request line."""
    max_models: Positive = 1000
    """Most different models that the lines of one batch may name; each needs a shard of its own."""
    max_errors: Positive = 1000
    """Most entries of a failed batch's error list."""


class Execution(Group):
    soft_budget_s: Seconds = 240
    """After this an activation starts no more calls. Well below the platform's 600 s."""
    hard_budget_s: Seconds = 540
    """After this an activation gives up running calls; leaves a minute to hand everything back."""
    max_activations: Positive = 8
    """Most executor requests open at once; at least the executor Service's max-scale."""
    term_grace_s: Seconds = 20
    """How long running calls may go on after SIGTERM; below the 30 s that clusters often give."""
    max_calls: Positive = 256
    """Most calls that one activation has in flight; further slots open further activations."""
    max_leases: Positive = 16
    """Most shards of one model that one activation holds at once, those that cannot run left out;
    four times as many of all models. Bounds its memory and what its crash delays."""
    flush_interval_s: Seconds = 1.0
    """How much finished work, in seconds, a crash may cost."""
    flush_results: Positive = 256
    """How much finished work, in results, a crash may cost."""
    lease_ttl_s: Seconds = 15
    """How long a shard stays with an executor that has gone silent."""
    heartbeat_s: Seconds = 5
    """How often leases are renewed and the database is asked about cancel, pause and deadline."""
    slot_sync_s: Seconds = 0.2
    """How often grants are renewed: how fast slots move between executors."""
    slot_ttl_s: Seconds = 5
    """How long a grant outlives its holder's last sync; a holder that cannot sync aborts its calls
    before."""
    idle_exit_s: Seconds = 6
    """How long an activation without work or slots waits before it ends. Longer than a dead one
    stays registered."""
    fence_s: Seconds = 30
    """How long executors may take to give up the shards of a cancelled or expired batch."""
    assembly_ttl_s: Seconds = 15
    """How long an assembly stays with an assembler that has gone silent."""
    complete_bytes: Count = 1024 * 1024
    """Up to so many bytes of results, the executor that finishes a batch of one shard completes the
    batch itself, without the assembler; 0: the assembler completes every batch."""
    assembly_run_bytes: Positive = 16 * 1024 * 1024
    """About how much of a batch's results, in bytes, an assembler's crash makes its successor read
    again from small objects; held in memory."""


def budget_problem(execution: Execution, longest_call_s: float) -> str | None:
    """Why a call of ``longest_call_s`` seconds can never end; None: it can."""
    if longest_call_s <= execution.hard_budget_s:
        return None
    return (
        f"setting execution.hard_budget_s: {execution.hard_budget_s:g} s are less than the longest"
        f" timeout_s of a call, {longest_call_s:g} s; allowed: at least that"
        " (BATCH_GATEWAY_EXECUTION__HARD_BUDGET_S)"
    )


class Batches(Group):
    retention_s: Count = 90 * 86400
    """How long in seconds a batch that has ended is kept before it is deleted; 0: for ever. Its
    files are kept as long as they say themselves."""


class Sweep(Group):
    every_s: Seconds = 60.0
    """How often the janitor sweeps while there is work to look after."""
    budget_s: Seconds = 540.0
    """Maximum duration of one janitor run, in seconds; a new run then continues. Below the
    platform's request timeout of 600 s."""
    absence_s: Seconds = 660.0
    """Longest time between two timer ticks of the janitor. A run that finds work due within this
    time continues until then. A little more than the period of the janitor's PingSource."""
    interval_s: Seconds = 3.0
    """The janitor's ticks cannot be signed, so more of them than one in this time do nothing."""
    step_budget_s: Seconds = 30.0
    """How long one step of a sweep handles items; the next sweep follows at once and goes on."""
    unsent_s: Seconds = 10.0
    """An event that is in the outbox for longer was not sent. Longer than a POST may take."""
    stuck_s: Seconds = 60.0
    """A batch that waits for longer in a state has lost the event that moves it on. Announcing it
    twice is harmless."""
    leftovers_s: Seconds = 86400.0
    """Unfinished writes that are older have no writer any more, and blobs that no row names no
    owner."""
    recount_s: Seconds = 86400.0
    """How often what each tenant has is counted anew, which heals what two releases that were at
    work at once have counted differently."""
