"""HTTP faces of the functions: REST routes, and CloudEvents turned into use cases."""
