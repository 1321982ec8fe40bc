"""OpenAI's chat completions, responses and embeddings, for OpenAI itself and for the many servers that speak the same.

`family` ties the pieces together. Each operation is a module (`chat_completions`, `responses`, `embeddings`) that
parses its request and says what of it to change; which fields are known and what they can cost is data beside it
(`chat_fields`, `response_fields`). What operations share: `fields`, `reading`, `edits`, `dialect`. `usage` reads what
was consumed, `refusals` shapes our own answers. Here does not belong anything about prices, or about how Envoy is told
(both only get values from here).
"""
