"""gRPC over HTTP/2, as much of it as a server needs whose peer is the gateway's Envoy on a Unix socket.

`frames` knows how frames are written, `headers` what is in a header block, `outbox` how much the peer has room for;
`connection` is the protocol: bytes in, messages out, no I/O, no clock; `server` puts it on an asyncio loop. Nothing
here knows what a message means.

Why this is not grpcio: docs/decisions/0007-one-loop.md.
"""
