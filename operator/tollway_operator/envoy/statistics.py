"""What the gateway's Envoy does not count. Each statistic is kept up by every call; the dear ones are left out.

Left out are histograms of times and sizes, and counters of upstream answers by status. The access log has both of each
call. All gauges, and counters of calls, connections, failures, refusals and updates, stay: who drains the gateway, or
looks whether it took its configuration, reads them.
"""

from typing import Final

from envoy_data_plane.envoy.config.metrics import v3 as metrics
from envoy_data_plane.envoy.type.matcher import v3 as matcher

_HISTOGRAMS: Final = ("_rq_time", "_ms", "_size_bytes", "_time_us")
"""How the names of histograms end that are about calls or connections."""
_BY_STATUS: Final = r".*\.upstream_rq_(?:[1-5][0-9x]{2}|completed)"
"""Envoy looks these up anew, by a name that it puts together, for each answer to each of its questions."""


def counted() -> metrics.StatsConfig:
    patterns = [matcher.StringMatcher(suffix=suffix) for suffix in _HISTOGRAMS]
    patterns.append(matcher.StringMatcher(safe_regex=matcher.RegexMatcher(regex=_BY_STATUS)))
    left_out = matcher.ListStringMatcher(patterns=patterns)
    return metrics.StatsConfig(stats_matcher=metrics.StatsMatcher(exclusion_list=left_out))
