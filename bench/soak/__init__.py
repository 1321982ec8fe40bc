"""`make soak`: calls at half of the highest rate while processes die every minute, and the books afterwards.

Here belongs what loads, kills, watches and judges for a long time. What costs how much is the bench's (`bench`), whose
installation and readings of processes are used here. How it is judged is in `docs/measuring.md`, the last run in
`docs/soak.md`.
"""
