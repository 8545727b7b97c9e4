"""Upkeep: repairs after crashes, lost events and an emptied scratch server.

sweep      the janitor's round over everything that may lie about
items      many items of one step: each on its own, in pages, within a time budget
reminders  lost events announced again, and deadlines at risk
rounds     one after the other, as long as there is work to look after
attention  whether there is
demand     whether there is work for an executor
courier    whoever has announced something looks again whether it was heard
rebuild    the queue filled again from the database
orphans    blobs that nobody owns
retention  batches that ended long ago, deleted
"""
