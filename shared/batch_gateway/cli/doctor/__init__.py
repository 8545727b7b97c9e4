"""``batch-gateway doctor``: one module per thing that is looked at."""
