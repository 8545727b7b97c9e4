"""Verification: compares the file store with the database, byte for byte.

findings   what may be wrong, and what was looked at
expected   the objects that rows name
verifier   reads them, and searches for objects that no row names
"""
