"""``batch-gateway doctor``: one module per group of checks."""
