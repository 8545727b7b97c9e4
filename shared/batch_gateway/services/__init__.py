"""Use cases. All I/O goes through ports; what several of them share lies beside the packages."""
