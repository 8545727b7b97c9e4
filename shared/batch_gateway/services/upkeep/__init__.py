"""Upkeep: repairs after crashes, lost events and an emptied scratch server.

sweep    the janitor's round over everything that may lie about
rebuild  the queue filled again from the database
orphans  blobs that nobody owns
"""
