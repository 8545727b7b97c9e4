"""HTTP interfaces of the functions: REST routes, and CloudEvents."""
