"""Names of all keys of the coordination store.

Every key begins with the hash tag ``{prefix}``, so on a cluster all of them live on one node and
one script may touch any of them. Scripts derive the keys of single batches, tenants, models and
pools from the root that they are given.
"""


class CoordinationKeys:
    """The roots of one deployment's keys."""

    def __init__(self, prefix: str) -> None:
        if not prefix or "{" in prefix or "}" in prefix:
            raise ValueError(
                "the prefix of the coordination store's keys must be a word without braces"
            )
        self.prefix = prefix
        tag = f"{{{prefix}}}"
        self.queue = f"{tag}:queue"
        self.slots = f"{tag}:slots"
        self.running = f"{tag}:activations:running"
        self.pending = f"{tag}:activations:pending"
        self.dead = f"{tag}:activations:dead"
        self.serving = f"{tag}:activations:serving"
        self.control = f"{tag}:control"
        self.rates = f"{tag}:rates"
        self.rights = f"{tag}:rights"
        self.full = f"{tag}:full"
        self.paces = f"{tag}:paces"
        self.generation = f"{tag}:generation"
        self.rebuild = f"{tag}:rebuild"
        self.once = f"{tag}:once"
        self.announced = f"{tag}:announced"
        self.instances = f"{tag}:instances"
