"""What is written by hand for Envoy is read by the generated code as what was meant."""

from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from tollway_extauthz.wire import writing
from tollway_extauthz.wire.envoy_subset_pb2 import CheckResponse

TEXT = st.text(st.characters(codec="utf-8"), max_size=400)
EDITS = st.lists(st.tuples(st.integers(0, 2**25), st.integers(0, 2**25), TEXT), min_size=1, max_size=4)


@given(call=TEXT, edits=EDITS)
def test_what_envoys_filters_are_told_is_read_as_it_was_meant(call: str, edits: list[tuple[int, int, str]]) -> None:
    meant = Struct()
    meant["call"] = call
    meant["strip_usage"] = True
    meant["edits"] = "".join(f"{offset} {length} {len(text.encode())}:{text}" for offset, length, text in edits)
    written = writing.text(b"call", call) + writing.truth(b"strip_usage") + writing.edits(b"edits", edits)
    assert Struct.FromString(written) == meant


@given(names=st.lists(TEXT, max_size=5), headers=st.lists(st.tuples(TEXT, TEXT), max_size=4), text=TEXT)
def test_a_grant_is_read_as_it_was_meant(names: list[str], headers: list[tuple[str, str]], text: str) -> None:
    written = writing.removed(names) + b"".join(writing.sent(*each) + writing.told(*each) for each in headers)
    read = CheckResponse.FromString(writing.ok(written, writing.text(b"call", text)))
    assert read.HasField("status")
    assert read.status.code == 0
    assert list(read.ok_response.headers_to_remove) == names
    for options in (read.ok_response.headers, read.ok_response.response_headers_to_add):
        assert [(each.header.key, each.header.value) for each in options] == headers
        assert {each.append_action for each in options} <= {2}
    assert read.dynamic_metadata.fields["call"].string_value == text
