"""Use cases. All I/O goes through ports; shared code lies beside the packages."""
