"""A small durable broker: Knative's Broker and Triggers on Redis streams, for one machine.

    ingress   takes CloudEvents in, answers 202 once they are on disk
    routing   which Triggers an event is for; hop counting; faults for tests
    streams   one stream per Trigger in an append-only Valkey
    delivery  posts each stream's events to the subscriber until a final outcome

It runs as a process of its own, so that it can die without the platform.
"""
