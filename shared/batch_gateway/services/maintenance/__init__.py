"""Maintenance: repairs after crashes, lost events and a restarted Redis without data.

sweep             one run of the janitor over all stores
cleanup           the steps of a sweep that delete
sweep_step_runner handles the items of one step separately, in pages, within a time budget
open_batches      publishes lost events again, and reports deadlines at risk
janitor_loop      repeats the sweep while there is work
janitor_schedule  decides whether the janitor is needed before its next timer tick
available_work    whether an executor would find work now
outbox_relay      sends events again that the broker did not accept
rebuild           fills the queue in Redis again from the database
orphans           deletes blobs that no row names
retention         deletes batches that ended long ago
"""
