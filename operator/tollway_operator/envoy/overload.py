"""What an Envoy refuses so that it stays up: connections over a number, requests when memory runs out."""

import betterproto2
from envoy_data_plane.envoy.config.overload import v3 as overload
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections import v3 as connections
from envoy_data_plane.envoy.extensions.resource_monitors.fixed_heap import v3 as fixed_heap

from tollway_operator.envoy.messages import packed, seconds

_HEAP = "envoy.resource_monitors.fixed_heap"
_LEAST_TRACKED = 18
"""A power of two. Streams are told apart by what they keep buffered, in eight classes of double size; the last is of
32 MiB and more, which is the largest body there is."""


def gateway_limits(max_heap_bytes: int, max_connections: int) -> overload.OverloadManager:
    heap = _monitor(_HEAP, fixed_heap.FixedHeapConfig(max_heap_size_bytes=max_heap_bytes))
    return overload.OverloadManager(
        refresh_interval=seconds(0.1),
        resource_monitors=[heap, _connections(max_connections)],
        # Refusing new requests frees nothing: bodies that are on their way go on filling the heap. So the largest
        # streams are given up first, the more the fuller it is; a sidecar makes a 503 of that.
        buffer_factory_config=overload.BufferFactoryConfig(minimum_account_to_track_power_of_two=_LEAST_TRACKED),
        actions=[
            _between("envoy.overload_actions.reset_high_memory_stream", 0.70, 0.95),
            _at("envoy.overload_actions.shrink_heap", 0.70),
            _at("envoy.overload_actions.stop_accepting_requests", 0.95),
            _at("envoy.overload_actions.stop_accepting_connections", 0.98),
        ],
    )


def sidecar_limits(max_connections: int) -> overload.OverloadManager:
    """Its memory is the pod's, and has the pod's limit."""
    return overload.OverloadManager(resource_monitors=[_connections(max_connections)])


def _connections(most: int) -> overload.ResourceMonitor:
    config = connections.DownstreamConnectionsConfig(max_active_downstream_connections=most)
    return _monitor("envoy.resource_monitors.global_downstream_max_connections", config)


def _monitor(name: str, config: betterproto2.Message) -> overload.ResourceMonitor:
    return overload.ResourceMonitor(name=name, typed_config=packed(config))


def _at(action: str, share_of_heap: float) -> overload.OverloadAction:
    threshold = overload.ThresholdTrigger(value=share_of_heap)
    return overload.OverloadAction(name=action, triggers=[overload.Trigger(name=_HEAP, threshold=threshold)])


def _between(action: str, share_of_heap: float, all_of_it: float) -> overload.OverloadAction:
    """More and more of it between the two."""
    scaled = overload.ScaledTrigger(scaling_threshold=share_of_heap, saturation_threshold=all_of_it)
    return overload.OverloadAction(name=action, triggers=[overload.Trigger(name=_HEAP, scaled=scaled)])
