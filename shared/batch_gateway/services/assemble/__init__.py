"""Assembler: from the results of a batch to its output and error file.

assembler  one assembly from its event to the ended batch
merge      result lines by line number, in bounded memory
"""
