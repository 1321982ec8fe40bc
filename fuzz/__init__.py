"""`make fuzz`: coverage-guided fuzzing of everything that reads what others wrote, one target per parser.

Here belongs what is fed with made-up bytes, and what must hold for any: `targets` has a module per parser, each with
its seeds and its `check`; `campaign` runs one under atheris, `__main__` one after the other. What broke something is
kept in `cases/<target>/`, and `tests/fuzzing` runs all seeds and kept cases with every `make test`, without atheris. A
new target is a module and a line in `targets`.
"""
