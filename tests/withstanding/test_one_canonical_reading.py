"""R29: what was decided about is what the provider gets, or there is an error.

Everything here can be read in two ways by somebody. Where it has one reading for everybody, the call is made, and the
provider's bytes say what the books say; where not, nothing reaches anybody.
"""

import codecs
import json
from typing import Any

import pytest

from withstanding.ground import BODY, CHAT, HOPS, MESSAGE, MESSAGES, VERSION, Answer, Ground, read_answer, request
from withstanding.recording_provider import Received

RESPONSES = "/openai/v1/responses"
EMBEDDINGS = "/openai/v1/embeddings"
RESPONSE = b'{"model":"gpt-4o-mini","input":"hi","max_output_tokens":50}'
EMBEDDING = b'{"model":"text-embedding-3-small","input":"hi"}'


def with_members(body: bytes, *members: str, front: bool = False) -> bytes:
    added = ",".join(members).encode()
    return b"{" + added + b"," + body[1:] if front else body[:-1] + b"," + added + b"}"


def without(body: bytes, name: str) -> bytes:
    return json.dumps({key: value for key, value in json.loads(body).items() if key != name}).encode()


CHATS = {
    "two models": with_members(BODY, '"model":"gpt-4"'),
    "two models, the dear one first": with_members(BODY, '"model":"gpt-4"', front=True),
    "two models, one escaped": with_members(BODY, r'"mod\u0065l":"gpt-4"'),
    "two models, both escaped": with_members(
        without(BODY, "model"), r'"\u006dodel":"gpt-4o-mini"', r'"mode\u006c":"gpt-4"'
    ),
    "twice the same model": with_members(BODY, '"model":"gpt-4o-mini"'),
    "a model in capitals beside": with_members(BODY, '"MODEL":"gpt-4"'),
    "a model with a dotless letter beside": with_members(BODY, '"model\u200b":"gpt-4"'),
    "a model of a long s": with_members(BODY, '"mode\u017f":"gpt-4"'),
    "a model that is a list": with_members(without(BODY, "model"), '"model":["gpt-4o-mini","gpt-4"]'),
    "a model that is an object": with_members(without(BODY, "model"), '"model":{"id":"gpt-4"}'),
    "a model that is nothing": with_members(without(BODY, "model"), '"model":null'),
    "a model with a space": with_members(without(BODY, "model"), '"model":"gpt-4o-mini "'),
    "a model with a zero byte": with_members(without(BODY, "model"), r'"model":"gpt-4o-mini\u0000"'),
    "a model with a line feed": with_members(without(BODY, "model"), r'"model":"gpt-4o-mini\n"'),
    "a model that looks like one": with_members(without(BODY, "model"), '"model":"gpt-4o-mini\u0301"'),
    "models beside the model": with_members(BODY, '"models":["gpt-4"]'),
    "a fallback": with_members(BODY, '"fallbacks":["gpt-4"]'),
    "another endpoint": with_members(
        BODY, '"api_base":"https://api.evil.example"', '"base_url":"https://api.evil.example"'
    ),
    "extra_body": with_members(BODY, '"extra_body":{"model":"gpt-4"}'),
    "two caps": with_members(BODY, '"max_tokens":50'),
    "twice the same cap": with_members(BODY, '"max_completion_tokens":5'),
    "twice a cap, one escaped": with_members(BODY, r'"max_completion_tok\u0065ns":4000'),
    "an old cap, escaped": with_members(BODY, r'"max_t\u006fkens":4000'),
    "a cap in capitals": with_members(BODY, '"Max_Completion_Tokens":4000'),
    "a cap of another api": with_members(BODY, '"max_output_tokens":4000'),
    "a cap of 2^63": with_members(
        without(BODY, "max_completion_tokens"), '"max_completion_tokens":9223372036854775808'
    ),
    "a cap of 2^64": with_members(
        without(BODY, "max_completion_tokens"), '"max_completion_tokens":18446744073709551616'
    ),
    "a cap that wraps around 32 bits": with_members(
        without(BODY, "max_completion_tokens"), '"max_completion_tokens":4294967301'
    ),
    "a cap of 400 digits": with_members(
        without(BODY, "max_completion_tokens"), f'"max_completion_tokens":1{"0" * 400}'
    ),
    "a cap of 5000 digits": with_members(
        without(BODY, "max_completion_tokens"), f'"max_completion_tokens":1{"0" * 5000}'
    ),
    "a cap below zero": with_members(without(BODY, "max_completion_tokens"), '"max_completion_tokens":-1'),
    "a cap of zero": with_members(without(BODY, "max_completion_tokens"), '"max_completion_tokens":0'),
    "a cap with a fraction": with_members(without(BODY, "max_completion_tokens"), '"max_completion_tokens":5.5'),
    "a cap as a power": with_members(without(BODY, "max_completion_tokens"), '"max_completion_tokens":1e400'),
    "a cap as a text": with_members(without(BODY, "max_completion_tokens"), '"max_completion_tokens":"5"'),
    "a cap that is true": with_members(without(BODY, "max_completion_tokens"), '"max_completion_tokens":true'),
    "a cap in a list": with_members(without(BODY, "max_completion_tokens"), '"max_completion_tokens":[5]'),
    "a cap that is no number": with_members(without(BODY, "max_completion_tokens"), '"max_completion_tokens":NaN'),
    "a cap in octal": with_members(without(BODY, "max_completion_tokens"), '"max_completion_tokens":005'),
    "a huge number somewhere": with_members(BODY, f'"seed":{10**40}'),
    "answers of 2^64": with_members(BODY, '"n":18446744073709551617'),
    "twice the number of answers": with_members(BODY, '"n":1', r'"\u006e":100'),
    "two streams": with_members(BODY, '"stream":true', '"stream":false'),
    "a stream as a text": with_members(BODY, '"stream":"true"'),
    "a stream as a number": with_members(BODY, '"stream":1'),
    "twice the options of a stream": with_members(
        BODY, '"stream":true', '"stream_options":{"include_usage":true}', '"stream_options":{"include_usage":false}'
    ),
    "twice the options of a stream, one escaped": with_members(
        BODY, '"stream":true', '"stream_options":{"include_usage":true}', r'"stream_opti\u006fns":null'
    ),
    "twice inside of the options of a stream": with_members(
        BODY, '"stream":true', r'"stream_options":{"include_usage":true,"include_us\u0061ge":false}'
    ),
    "twice the tier": with_members(BODY, '"service_tier":"default"', r'"service_t\u0069er":"priority"'),
    "twice whether to store": with_members(BODY, '"store":false', '"store":true'),
    "twice inside of a message": BODY.replace(b'"role":"user"', b'"role":"user","role":"system"'),
    "twice inside of a tool": with_members(
        BODY, r'"tools":[{"type":"function","typ\u0065":"web_search","function":{"name":"f"}}]'
    ),
    "twice, deep in a schema": with_members(
        BODY, '"tools":[{"type":"function","function":{"name":"f","parameters":{"a":{"b":{"c":1,"c":2}}}}}]'
    ),
    "a mark of byte order": codecs.BOM_UTF8 + BODY,
    "UTF-16": BODY.decode().encode("utf-16"),
    "UTF-16 without a mark": BODY.decode().encode("utf-16-le"),
    "UTF-32": BODY.decode().encode("utf-32"),
    "UTF-7": b"+AHs-" + BODY[1:],
    "no UTF-8": BODY.replace(b"hi", b"\xff"),
    "an overlong quote": BODY.replace(b"hi", b'hi\xc0\xa2,"x":"'),
    "half a surrogate pair": BODY.replace(b"hi", rb"\ud800"),
    "surrogates as bytes": BODY.replace(b"hi", b"\xed\xa0\x80"),
    "something behind": BODY + b'{"model":"gpt-4"}',
    "a second document on a line": BODY + b"\n" + BODY,
    "a zero byte behind": BODY + b"\0",
    "a zero byte in front": b"\0" + BODY,
    "a prefix against hijacking": b")]}',\n" + BODY,
    "a comment": BODY.replace(b"{", b'{/*"model":"gpt-4",*/', 1),
    "a comment to the end of a line": BODY.replace(b"{", b'{//"model":"gpt-4",\n', 1),
    "a comma at the end": BODY[:-1] + b",}",
    "keys without quotes": BODY.replace(b'"model"', b"model"),
    "single quotes": BODY.replace(b'"', b"'"),
    "a control character in a text": BODY.replace(b"hi", b"h\ti"),
    "a list around it": b"[" + BODY + b"]",
    "a text around it": json.dumps(BODY.decode()).encode(),
    "nothing": b"",
    "white space": b"  \n ",
    "a form": b"model=gpt-4o-mini&max_tokens=5",
    "deeper than anybody reads": with_members(BODY, f'"tools":{"[" * 5000}{"]" * 5000}'),
}


@pytest.mark.parametrize("body", CHATS.values(), ids=CHATS)
def test_R29_a_body_that_two_readers_could_understand_differently_is_refused(ground: Ground, body: bytes) -> None:
    assert_refused(ground, "sidecar", request(body=body))


def assert_refused(ground: Ground, hop: str, sent: bytes, path: str = CHAT) -> Answer:
    with ground.unmoved():
        answer = ground.send(hop, sent)
        assert answer.status in {400, 404}, answer
        assert answer.is_shaped(path)
        assert answer.reason.startswith(("request.", "operation.", "provider."))
    return answer


OTHER_APIS = {
    "messages, two models": (MESSAGES, with_members(MESSAGE, '"model":"claude-opus-4-1"')),
    "messages, an escaped model": (MESSAGES, with_members(MESSAGE, r'"mod\u0065l":"claude-opus-4-1"')),
    "messages, two caps": (MESSAGES, with_members(MESSAGE, '"max_tokens":4000')),
    "messages, an escaped cap": (MESSAGES, with_members(MESSAGE, r'"max_t\u006fkens":4000')),
    "messages, a cap of another api": (MESSAGES, with_members(MESSAGE, '"max_completion_tokens":4000')),
    "messages, a cap of 2^64": (MESSAGES, MESSAGE.replace(b'"max_tokens":5', b'"max_tokens":18446744073709551621')),
    "messages, thought over the cap": (
        MESSAGES,
        with_members(MESSAGE, '"thinking":{"type":"enabled","budget_tokens":4000}'),
    ),
    "messages, two budgets of thought": (
        MESSAGES,
        with_members(MESSAGE, r'"thinking":{"type":"enabled","budget_tokens":1024,"budget_tok\u0065ns":9000}'),
    ),
    "messages, a mark of byte order": (MESSAGES, codecs.BOM_UTF8 + MESSAGE),
    "messages, UTF-16": (MESSAGES, MESSAGE.decode().encode("utf-16")),
    "responses, two models": (RESPONSES, with_members(RESPONSE, '"model":"gpt-4"')),
    "responses, an escaped cap": (RESPONSES, with_members(RESPONSE, r'"max_output_t\u006fkens":4000')),
    "responses, a cap of another api": (RESPONSES, with_members(RESPONSE, '"max_tokens":4000')),
    "embeddings, two models": (EMBEDDINGS, with_members(EMBEDDING, r'"m\u006fdel":"text-embedding-3-large"')),
    "embeddings, two inputs": (EMBEDDINGS, with_members(EMBEDDING, '"input":"another"')),
}


@pytest.mark.parametrize(("path", "body"), OTHER_APIS.values(), ids=OTHER_APIS)
def test_R29_so_it_is_in_every_api(ground: Ground, path: str, body: bytes) -> None:
    assert_refused(ground, "sidecar", request(path, VERSION, body=body), path)


TYPES = {
    "none": None,
    "an empty one": "content-type:",
    "a text": "content-type: text/plain",
    "a text of JSON": "content-type: text/json",
    "lines of JSON": "content-type: application/x-ndjson",
    "another kind of JSON": "content-type: application/problem+json",
    "a form": "content-type: application/x-www-form-urlencoded",
    "parts": "content-type: multipart/form-data; boundary=x",
    "JSON in UTF-16": "content-type: application/json; charset=utf-16",
    "JSON in UTF-7": "content-type: application/json; charset=utf-7",
    "JSON in Latin-1": "content-type: application/json; charset=iso-8859-1",
    "two charsets": "content-type: application/json; charset=utf-8; charset=utf-16",
    "two types": "content-type: application/json, text/plain",
    "a parameter more": "content-type: application/json; boundary=x",
    "a byte over 127": "content-type: application/json; charset=\xfctf-8",
}


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("content_type", TYPES.values(), ids=TYPES)
def test_R29_a_body_that_is_not_said_to_be_json_in_utf_8_is_refused(
    ground: Ground, hop: str, content_type: str | None
) -> None:
    assert_refused(ground, hop, request(content_type=content_type))


PATHS = {
    "a parameter": f"{CHAT};x=1",
    "a parameter inside": "/openai/v1;x=1/chat/completions",
    "a parameter of a session": f"{CHAT};jsessionid=1",
    "an empty segment": "/openai//v1/chat/completions",
    "an empty first segment": "//openai/v1/chat/completions",
    "an authority in the path": "//api.evil.example/openai/v1/chat/completions",
    "an escaped slash": "/openai/v1%2Fchat/completions",
    "an escaped slash behind the provider": "/openai%2fv1/chat/completions",
    "a slash escaped twice": "/openai/v1%252Fchat/completions",
    "an escaped zero byte": f"{CHAT}%00",
    "an escaped zero byte and an ending": f"{CHAT}%00.json",
    "an escaped line": f"{CHAT}%0d%0ahost:x",
    "an escaped space": f"{CHAT}%20",
    "an escaped question mark": f"{CHAT}%3Fx",
    "an escaped letter": "/openai/v1/ch%61t/completions",
    "an overlong slash": "/openai/v1%c0%afchat/completions",
    "a backslash": "/openai/v1\\chat/completions",
    "an escaped backslash": "/openai/v1%5Cchat/completions",
    "a fragment": f"{CHAT}#fragment",
    "a fragment before the query": f"{CHAT}#?x=1",
    "a segment up": "/openai/v1/../v1/chat/completions",
    "a segment up to another provider": "/openai/../anthropic/v1/messages",
    "a segment up, escaped": "/openai/%2e%2e/anthropic/v1/messages",
    "a segment up with a parameter": "/openai/..;/anthropic/v1/messages",
    "a segment of one dot": "/openai/./v1/chat/completions",
    "a slash at the end": f"{CHAT}/",
    "capitals": "/openai/V1/Chat/Completions",
    "capitals in the provider": "/OpenAI/v1/chat/completions",
    "an ending": f"{CHAT}.json",
    "a provider twice": "/openai/openai/v1/chat/completions",
    "a deployment that names a model": "/openai/openai/deployments/gpt-4/chat/completions",
    "a model in the path": "/openai/v1/models/gpt-4/chat/completions",
    "an engine in the path": "/openai/v1/engines/gpt-4/completions",
    "a method behind a colon": "/openai/v1/models/gpt-4:generateContent",
    "a model in the query": f"{CHAT}?model=gpt-4",
    "a cap in the query": f"{CHAT}?max_tokens=4000",
    "a version in the query": f"{CHAT}?api-version=2024-10-21",
    "an endpoint in the query": f"{CHAT}?api_base=https://api.evil.example",
    "a fragment's sign in the query": f"{CHAT}?a%23b=1",
    "another query's beginning": f"{CHAT}?&?model=gpt-4",
    "a query cut by a semicolon": f"{CHAT}?;model=gpt-4",
    "a byte over 127": "/openai/v1/ch\xe4t/completions",
}


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_R29_a_path_that_is_not_the_operations_to_the_letter_is_refused(ground: Ground, hop: str, path: str) -> None:
    assert_refused(ground, hop, request(path))


SPELLED = {
    "an escaped key": with_members(without(BODY, "model"), r'"mod\u0065l":"gpt-4o-mini"'),
    "an escaped value": BODY.replace(b"gpt-4o-mini", rb"gpt-4o-m\u0069n\u0069"),
    "a cap with an escaped key": with_members(
        without(BODY, "max_completion_tokens"), r'"max_completion_tok\u0065ns":5'
    ),
    "the old cap": with_members(without(BODY, "max_completion_tokens"), '"max_tokens":5'),
    "no cap but a null": with_members(without(BODY, "max_completion_tokens"), '"max_completion_tokens":null'),
    "one cap and one null": with_members(BODY, '"max_tokens":null'),
    "white space everywhere": json.dumps(json.loads(BODY), indent="\t").replace(":", " \r\n : ").encode(),
    "white space around": b" \r\n\t" + BODY + b" \r\n",
    "escapes that look like members": BODY.replace(b"hi", rb"\",\"model\":\"gpt-4\",\"x\":\""),
    "a text that says so": BODY.replace(b"hi", rb"{\"model\": \"gpt-4\", \"max_completion_tokens\": 4000}"),
    "escaped quotes": BODY.replace(b"hi", rb"\u0022,\u0022model\u0022:\u0022gpt-4"),
    "a backslash at the end of a text": BODY.replace(b"hi", rb"hi\\"),
    "letters beyond the first plane": BODY.replace(b"hi", "\U0001f600\u2028".encode()),
    "escaped letters beyond it": BODY.replace(b"hi", rb"\ud83d\ude00\u2028"),
    "storage that is asked for": with_members(BODY, r'"st\u006fre":true'),
    "a tier that is null": with_members(BODY, '"service_tier":null'),
    "a stream": with_members(BODY, '"stream":true'),
    "a stream with an escaped key": with_members(BODY, r'"str\u0065am":true', '"stream_options":null'),
    "a stream without usage": with_members(
        BODY, '"stream":true', r'"stream_opti\u006fns" : { "include_us\u0061ge" : false , "include_obfuscation":true}'
    ),
    "a stream with empty options": with_members(BODY, '"stream":true', '"stream_options": { }'),
}


@pytest.mark.parametrize("agent", ["team-a/caller", "team-a/short"])
@pytest.mark.parametrize("body", SPELLED.values(), ids=SPELLED)
def test_R29_however_a_body_is_spelled_the_provider_reads_what_the_books_say(
    ground: Ground, agent: str, body: bytes
) -> None:
    """For an agent with plenty, and for one whose calls are cut to what it has left."""
    with ground.one_call() as received:
        answer = ground.send("sidecar", request(body=body), agent)
        assert answer.status == 200, answer
    assert_read_as_booked(ground, answer, received[0], json.loads(body))


def assert_read_as_booked(ground: Ground, answer: Answer, received: Received, asked: dict[str, Any]) -> None:
    booked, read = ground.ended(answer.call), received.json
    caps = [read[name] for name in ("max_completion_tokens", "max_tokens") if read.get(name) is not None]
    assert read["model"] == booked["model"] == asked["model"] == "gpt-4o-mini"
    assert caps == [booked["size"]] or (caps == [] and booked["size"] >= 16_384)
    assert read.get("stream", False) is booked["stream"]
    assert not booked["stream"] or read["stream_options"]["include_usage"] is True
    assert (read["store"], read["service_tier"]) == (False, "default")
    assert read["messages"] == asked["messages"]
    assert read.keys() <= asked.keys() | {"store", "service_tier", "stream_options", "max_completion_tokens"}


@pytest.mark.parametrize("cap", ["4000", "999999999", "2147483647"])
@pytest.mark.parametrize("name", ["max_completion_tokens", r"max_completion_tok\u0065ns", r"\u006dax_tokens"])
def test_R29_a_cap_that_is_lowered_is_lowered_where_it_stands(ground: Ground, name: str, cap: str) -> None:
    body = with_members(without(BODY, "max_completion_tokens"), f'"{name}" : {cap}')
    with ground.one_call() as received:
        answer = ground.send("sidecar", request(body=body), "team-a/short")
        assert answer.status == 200, answer
    assert_read_as_booked(ground, answer, received[0], json.loads(body))
    assert ground.ended(answer.call)["size"] <= 400


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON", 'application/json;charset="UTF-8"', "application/json ; charset=utf-8"],
)
def test_R29_the_usual_spellings_of_json_are_one_call(ground: Ground, content_type: str) -> None:
    with ground.one_call():
        assert ground.send("sidecar", request(content_type=f"content-type: {content_type}")).status == 200


NAMES = ["tollway-gateway", "api.openai.com", "api.evil.example", "LOCALHOST", "xn--e1afmkfd.example"]


@pytest.mark.parametrize("host", ["gateway", "api.evil.example", "127.0.0.1:1", "api.anthropic.com:443"])
@pytest.mark.parametrize("sni", NAMES)
def test_R29_neither_the_name_of_the_handshake_nor_the_host_says_where_a_call_goes(
    ground: Ground, sni: str, host: str
) -> None:
    with ground.one_call() as received, ground.to_gateway(ground.svid(), sni=sni) as connection:
        connection.sendall(request(host=host))
        assert read_answer(connection).status == 200
    assert received[0].all("host") == [ground.provider.endpoint.removeprefix("http://")]


def test_R29_the_books_are_in_order_after_all_of_it(ground: Ground) -> None:
    ground.counters()
    assert ground.in_order()
