"""`make bench`: the same call over a bare road of two Envoys and over Tollway, interleaved in one run; ratios and JSON.

Here belongs what measures: the roads side by side, the load, the reading of processes, the sums. How Tollway is
configured, started and asked comes from Tollway itself. A new case is a line in `scenarios`, a new number a line in
`figures`. What the numbers mean, and what they do not, is in `docs/measuring.md`.
"""
