"""Use cases of the owners of batches.

service               created, watched, listed, cancelled
actions               pause, resume, change priority or window, delete
inline                batches whose requests come with them
retry                 a new batch that runs only what has no good answer yet
dependents            batches that depend on the output of another one
completion_estimates  when a batch will complete, and what blocks it
"""
