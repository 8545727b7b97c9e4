"""The figures that the project is held to; each is one command, ``make bench F=F1``.

Servers that the embedded platform does not bring are the tests' own: ``fixtures``.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))
