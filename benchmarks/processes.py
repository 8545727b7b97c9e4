"""What a process costs: its memory and its processor time, as Linux counts them."""

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    """Resident memory now."""
    return _field(pid, "VmRSS") / 1024


def proportional_mib(pid: int) -> float:
    """Resident memory, of which what several processes share counts in parts."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise LookupError("Pss")


def peak_mib(pid: int) -> float:
    """Resident memory at its highest since the start, or since ``forget_peak``."""
    return _field(pid, "VmHWM") / 1024


def forget_peak(pid: int) -> None:
    """Let the peak begin anew at what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # man 5 proc


def cpu_s(pid: int) -> float:
    """Seconds of processor time, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def tree(pid: int) -> list[int]:
    """The process and all its living descendants."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [one for child in children.read_text().split() for one in tree(int(child))]
        except (FileNotFoundError, ProcessLookupError):  # it ended just now
            continue
    return found


def cpu_of_tree_s(pid: int) -> float:
    """Seconds of processor time of a process and all its descendants, ended ones included.

    A process that ended counts once its parent has waited for it (man 5 proc, cutime).
    """
    total = 0
    for one in tree(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        except FileNotFoundError:  # it ended just now
            continue
        total += sum(map(int, fields[11:15]))
    return total / _TICKS_PER_S


def memory_of_tree_mib(pid: int) -> float:
    """Proportional memory of a process and all its descendants, now."""
    total = 0.0
    for one in tree(pid):
        try:
            total += proportional_mib(one)
        except (FileNotFoundError, ProcessLookupError, LookupError):  # it ended just now
            continue
    return total


def _field(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(name)
