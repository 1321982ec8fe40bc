"""Anthropic's messages, and the counting of their tokens.

`family` ties the pieces together. `fields` is the data: which fields, blocks and tools are known and what they can
cost; `request` and `content` parse, `features` judges the headers that switch features on, `edits` says what to change,
`usage` reads what was consumed, `refusals` shapes our own answers.
Here does not belong anything about prices, or about how Envoy is told (both only get values from here).
"""
