"""Stores: where a ledger's holds, counters and journal are kept.

Here belongs how each store reads, writes and stays whole: tables, transactions, files. Here does not belong what any of
it means: every store runs `tollway.ledger.book`, and passes the one suite in `tests/ledger`.

`memory` is for tests, `sqlite` the embedded default for one gateway replica.
"""
