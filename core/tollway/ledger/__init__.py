"""The ledger: what is counted, over which time, how much a call may take, and what becomes of it.

Here belongs everything about limits that needs no I/O: units and windows, the arithmetic of a grant, the life of a
hold, and `book`, which puts them together over the few reads and writes a store offers. Here does not belong how
a store keeps its tables (`tollway_extauthz.stores`), nor what a call costs (`tollway.pricing`), nor which limits
cover it (`tollway.deciding`).

Read `port` for the words, then `arithmetic` (how much), `holds` (what happens to it) and `book` (both together);
`seeding` is what a limit goes on from when it is counted another way.
"""
