"""The gRPC server that Envoy's ext_authz asks.

The synchronous server with few threads: on the same work it takes about half the CPU time of the asyncio one, on both
sides of the socket. Streams that stay open are served elsewhere (`log_server`), because each would hold a thread.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc

from tollway_extauthz.authorizer import Authorizer
from tollway_extauthz.wire.envoy_subset_pb2 import CheckRequest, CheckResponse

SERVICE: Final = "envoy.service.auth.v3.Authorization"
THREADS: Final = 16
MOST_WAITERS: Final = 12
"""Below `THREADS`, so that waiting calls never hold up the others."""
_LARGEST_MESSAGE: Final = 40 << 20


def start_check_server(authorizer: Authorizer, socket: str) -> grpc.Server:
    """Serve on the Unix socket at once. Raises `RuntimeError` if the socket cannot be bound."""

    def check(request: CheckRequest, context: grpc.ServicerContext) -> CheckResponse:
        return authorizer.check(request, context.is_active)

    handler = grpc.unary_unary_rpc_method_handler(
        check, request_deserializer=CheckRequest.FromString, response_serializer=CheckResponse.SerializeToString
    )
    server = grpc.server(
        ThreadPoolExecutor(THREADS, thread_name_prefix="check"),
        handlers=[grpc.method_handlers_generic_handler(SERVICE, {"Check": handler})],
        options=[
            ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
            ("grpc.so_reuseport", 0),
            ("grpc.max_concurrent_streams", 4096),
        ],
    )
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    return server
