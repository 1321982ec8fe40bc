"""OpenAI's chat completions, for OpenAI itself and for the many servers that speak the same format.

`family` ties the pieces together; `fields` is the data: which request fields are known and what they can cost;
`request` parses, `edits` says what to change, `usage` reads what was consumed, `refusals` shapes our own answers.
Here does not belong anything about prices, or about how Envoy is told (both only get values from here).
"""
