"""The figures that the project is held to; each is one command, ``make bench F=F1``."""
