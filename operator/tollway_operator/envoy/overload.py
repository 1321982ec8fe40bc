"""What an Envoy refuses so that it stays up: connections over a number, requests when memory runs out."""

import betterproto2
from envoy_data_plane.envoy.config.overload import v3 as overload
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections import v3 as connections
from envoy_data_plane.envoy.extensions.resource_monitors.fixed_heap import v3 as fixed_heap

from tollway_operator.envoy.messages import packed, seconds

_HEAP = "envoy.resource_monitors.fixed_heap"


def gateway_limits(max_heap_bytes: int, max_connections: int) -> overload.OverloadManager:
    heap = _monitor(_HEAP, fixed_heap.FixedHeapConfig(max_heap_size_bytes=max_heap_bytes))
    return overload.OverloadManager(
        refresh_interval=seconds(0.25),
        resource_monitors=[heap, _connections(max_connections)],
        actions=[
            _at("envoy.overload_actions.shrink_heap", 0.90),
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
