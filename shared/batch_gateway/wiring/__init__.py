"""Creates all concrete objects: one module per function, and shared ones.

Each function opens what it needs and nothing else, when its server starts, and closes it when it
stops. Adapters are imported where they are opened: what a deployment does not use costs no start
time.
"""
