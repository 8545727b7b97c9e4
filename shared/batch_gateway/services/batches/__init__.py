"""Batches as their owners see them.

service   created, watched, listed, cancelled
steering  paused, resumed, given another priority or window, removed
inline    batches whose requests come with them
retry     a new batch that runs only what has no good answer yet
chain     a batch that begins with what another one has answered
outlook   when a batch will be done, and what it waits for
"""
