"""Assembler: from the results of a batch to its output and error file.

assembler  one assembly from its event to the ended batch
gathering  the results of all shards on scratch disk, and most of it in the store for after a crash
merge      result lines by line number, in bounded memory
"""
