"""Differential: `self.headers`, the message whose look-up by name is native, against http.client.HTTPMessage.

The same operation on equal messages of both classes: equal result or exception, and equal fields left behind.
"""
import copy
import email.header
import email.message
import email.policy
import http.client
import pickle

import pytest

from differential import assert_same, handling
from support import load_backend, respond


class Text(str):
    """A str that is none by type."""


class Upside(str):
    """A str that has a lower case of its own."""

    def lower(self):
        return self[::-1]


@pytest.fixture(scope="module")
def ours():
    return load_backend("turboserver").http_server.BaseHTTPRequestHandler.MessageClass


FIELDS = {
    "usual": [("Host", "a"), ("Accept", "*/*"), ("accept", "text/html"), ("X-Empty", ""), ("Content-Length", "5")],
    "none": [],
    "one letter": [("a", "1"), ("A", "2"), ("b", "3")],
    "prefixes": [("Hos", "1"), ("Hostt", "2"), ("Host", "3"), ("Hos_", "4")],
    "neighbours in ASCII": [("a[b", "1"), ("a{b", "2"), ("a@b", "3"), ("a`b", "4")],
    "name with NUL": [("a\0b", "1"), ("a\0c", "2")],
    "name in Latin-1": [("\xc9t\xe9", "1"), ("Stra\xdfe", "2"), ("host", "3")],
    "name with Kelvin sign": [("X-\u212a", "kelvin"), ("X-K", "letter")],
    "name with Kelvin sign last": [("X-K", "letter"), ("X-\u212a", "kelvin")],
    "name with dotted I": [("\u0130d", "dotted"), ("Id", "letter"), ("host", "3")],
    "name beyond": [("\u20ac", "euro"), ("\U0001f600", "smile"), ("host", "3")],
    "value in Latin-1": [("Host", "caf\xe9"), ("a", "\x80\xff")],
    "value beyond": [("Host", "\u20ac"), ("a", "\U0001f600")],
    "value undecodable": [("Host", "caf\udce9"), ("Host", "2"), ("a", "\udc80")],
    "value in the Latin-1 of a wide slice": [("Host", "\u20acab"[1:])],
    "value a Header": [("Host", email.header.Header("caf\xe9", "utf-8")), ("a", "1")],
    "values no str": [("Host", 5), ("a", None), ("b", b"x"), ("Id", ["x"])],
    "values of str subclasses": [("Host", Text("a")), ("a", Text("caf\udce9"))],
    "names of str subclasses": [(Text("Host"), "1"), (Upside("tsoh"), "2"), ("a", "3")],
    "subclass in the way": [(Upside("tsoh"), "1"), ("host", "2")],
    "name no str": [(5, "1"), ("host", "2")],
    "name bytes": [(b"host", "1"), ("host", "2")],
    "lists": [["Host", "1"], ("a", "2"), ["a", "3"]],
    "strings": ["ab", "Xy", ("Host", "1")],
    "three in the tuple before": [("Host", "1", "2"), ("a", "1")],
    "None": [None, ("Host", "1")],
    "a tuple of tuples": (("Host", "1"), ("a", "2")),
    "a dictionary": {"ab": 1, "cd": 2},
    "no sequence": 5,
}

NAMES = ["Host", "host", "HOST", "hOsT", "accept", "a", "A", "b", "id", "ID", "x-k", "X-K", "x-\u212a", "X-\u212a",
         "\xc9T\xc9", "\xe9t\xe9", "stra\xdfe", "STRASSE", "\u0130D", "i\u0307d", "\u20ac", "", "Host ", "host:",
         "a[b", "a{b", "a@b", "A`B", "a\0b", "A\0C", "a\0d", "x-empty", "missing", Text("HOST"), Upside("host"),
         Upside("tsoh"), b"host", bytearray(b"a"), 5, None, ("host",), ["host"]]


of_each_kind = pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)


def shown(value):
    """A result, comparable: objects without a useful == as what they say."""
    if isinstance(value, email.header.Header):
        return ("Header", str(value), value.encode())
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [shown(item) for item in value]
    return type(value).__name__, value  # some policies make a class for each value


def outcome(operation, message):
    """What an operation on a message gave or raised, and the fields it left."""
    try:
        result = shown(operation(message))
    except Exception as error:
        result = (type(error), str(error))
    return result, shown(message._headers)


def made(cls, fields, policy=email.policy.compat32):
    message = cls(policy)
    message._headers = fields.copy() if isinstance(fields, (list, dict)) else fields
    return message


def assert_alike(ours, operation, fields, policy=email.policy.compat32, stock=http.client.HTTPMessage):
    expected = outcome(operation, made(stock, fields, policy))
    assert outcome(operation, made(ours, fields, policy)) == expected


# ---------------------------------------------------------------- one operation on one message

LOOKS = {
    "get": lambda message, name: message.get(name),
    "get with a default": lambda message, name: message.get(name, "default"),
    "get with a default by name": lambda message, name: message.get(name, failobj=[1]),
    "[]": lambda message, name: message[name],
    "in": lambda message, name: name in message,
    "not in": lambda message, name: name not in message,
    "get_all": lambda message, name: message.get_all(name),
    "get_all with a default": lambda message, name: message.get_all(name, ()),
}


def assert_all_alike(ours, operations, names, fields, policy=email.policy.compat32):
    """Each operation on each name, each time on a new message."""
    expected, got = ({
        (how, type(name).__name__, ascii(name)): outcome(lambda message: operate(message, name),  # noqa: B023
                                                         made(cls, fields, policy))
        for how, operate in operations.items() for name in names} for cls in (http.client.HTTPMessage, ours))
    assert {case: result for case, result in got.items() if result != expected[case]} == {}


@of_each_kind
def test_look_up(ours, fields):
    assert_all_alike(ours, LOOKS, NAMES, fields)


CHANGES = {
    "del": lambda message, name: message.__delitem__(name),
    "[]=": lambda message, name: message.__setitem__(name, "new"),
    "[]= no str": lambda message, name: message.__setitem__(name, 5),
    "replace_header": lambda message, name: message.replace_header(name, "new"),
    "add_header": lambda message, name: message.add_header(name, "v", some_key="w", flag=None),
    "set_param": lambda message, name: message.set_param("charset", "utf-8", name),
    "changed, then looked at": lambda message, name: (
        message.__setitem__(name, "first"), message[name], message.replace_header(name, "second"), message.get(name),
        message.__delitem__(name), name in message, message.get(name)),
}


@of_each_kind
def test_change(ours, fields):
    assert_all_alike(ours, CHANGES, ["Host", "HOST", "a", "x-k", "X-\u212a", "\xe9t\xe9", "", "missing", Text("host"),
                                     b"host", 5, None], fields)


WHOLE = {
    "items": lambda message: (message.items(), message.keys(), message.values(), list(message), len(message)),
    "text": lambda message: (str(message), message.as_bytes()),
    "content": lambda message: (message.get_content_type(), message.get_content_charset(), message.get_params(),
                                message.is_multipart(), message.get_payload(), message.defects),
    "no name": lambda message: message.get(),
    "too many": lambda message: message.get("host", 1, 2),
    "unknown argument": lambda message: message.get("host", default=1),
    "name by keyword": lambda message: message.get(name="host"),
    "the latter by name": lambda message: message.get_all(name="host", failobj=1),
}


@of_each_kind
@pytest.mark.parametrize("whole", ["items", "text", "content"])
def test_whole(ours, fields, whole):
    assert_alike(ours, WHOLE[whole], fields)


@pytest.mark.parametrize("call", ["no name", "too many", "unknown argument", "name by keyword", "the latter by name"])
def test_arguments(ours, call):
    """The same arguments are taken; of a refusal the type counts."""
    (expected, *_), (got, *_) = (outcome(WHOLE[call], made(cls, FIELDS["usual"]))
                                 for cls in (http.client.HTTPMessage, ours))
    assert got == expected or got[0] is expected[0] is TypeError


@pytest.mark.parametrize("policy", ["HTTP", "default", "strict", "SMTPUTF8"])
@pytest.mark.parametrize("kind", ["usual", "value undecodable", "value in Latin-1", "values no str"])
def test_other_policies(ours, policy, kind):
    assert_all_alike(ours, LOOKS, ["host", "A", "missing", "x-k", 5], FIELDS[kind], getattr(email.policy, policy))


def test_policy_of_its_own(ours):
    class Shouting(email.policy.Compat32):
        def header_fetch_parse(self, name, value):
            return f"{name}={value}".upper()

    for policy in Shouting(), email.policy.compat32.clone(), email.policy.Compat32():
        assert_all_alike(ours, LOOKS, ["host", "missing"], FIELDS["usual"], policy)


def test_policy_assigned_later(ours):
    def look(message):
        before = message["host"]
        message.policy = email.policy.default
        return before, message["host"], "host" in message, message.get("none", 1)

    assert_alike(ours, look, FIELDS["usual"])


def test_deletion_while_iterating(ours):
    def prune(message):
        for name in message:
            if message[name] == "*/*":
                del message[name]
        return message.items()

    assert_alike(ours, prune, FIELDS["usual"])


def test_failobj_is_the_very_object(ours):
    missing = object()
    message = made(ours, FIELDS["usual"])
    assert message.get("none", missing) is missing and message.get_all("none", missing) is missing
    assert message.get("host", missing) == "a"


def test_message_without_init(ours):
    for look in LOOKS.values():
        for cls in ours, http.client.HTTPMessage:
            with pytest.raises(AttributeError):
                look(cls.__new__(cls), "host")


# ---------------------------------------------------------------- the class

def test_is_a_subclass(ours):
    assert issubclass(ours, http.client.HTTPMessage) and isinstance(ours(), email.message.Message)
    assert ours.__name__ == "HTTPMessage"


@of_each_kind
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, *(
    lambda message, protocol=protocol: pickle.loads(pickle.dumps(message, protocol))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1))], ids=["copy", "deepcopy", "0", "1", "2", "3", "4", "5"])
def test_copies(ours, fields, copied):
    def look(message):
        again = copied(message)
        assert type(again) is type(message) and again is not message
        return again._headers, again.get("host"), sorted(vars(again)), again.policy is message.policy

    assert_alike(ours, look, fields)


@pytest.mark.parametrize("override", ["get", "__getitem__", "__contains__", "get_all", "items", "keys",
                                      "__iter__", "__setitem__", "__delitem__", "add_header"])
def test_overridden_in_a_subclass(ours, override):
    """Every operation calls the overridden method as often as in a subclass of the original."""
    def subclass(base):
        def noting(self, *args, **kwargs):
            told = [arg for arg in args if type(arg) is not object]     # a default of get_content_type()'s own
            self.__dict__.setdefault("calls", []).append((override, told))
            return getattr(super(Noting, self), override)(*args, **kwargs)

        Noting = type("Noting", (base,), {override: noting})
        return Noting

    def all_operations(message):
        results = [look(message, "host") for look in LOOKS.values()]
        message.add_header("x-a", "v")
        message["x-b"] = "w"
        message.replace_header("x-b", "x")
        del message["x-a"]
        results.append((message.items(), message.keys(), list(message), len(message), message.get_content_type()))
        return results, message.__dict__.get("calls")

    assert_alike(subclass(ours), all_operations, FIELDS["usual"], stock=subclass(http.client.HTTPMessage))


# ---------------------------------------------------------------- over a server

HEADS = {
    "usual": b"Host: a\r\nUser-Agent: b/1\r\nAccept: */*\r\n",
    "no fields": b"",
    "doubled": b"Host: a\r\nX-A: 1\r\nx-a: 2\r\nX-A: 1\r\n",
    "empty values": b"Host: a\r\nX-A:   \r\nX-B:\t\r\n",
    "empty host": b"Host:\r\nX-A: 1\r\n",
    "space before": b"Host:  a\r\nX-A:\t1\r\nX-B:x y\r\n",
    "space after": b"Host: a  \r\nX-A: 1\t\r\nX-B:x y\r\n",
    "Latin-1 value": b"Host: a\r\nX-A: caf\xe9 \x80\xff\r\n",
    "UTF-8 value": b"Host: a\r\nX-A: caf\xc3\xa9 \xe2\x82\xac\r\n",
    "Latin-1 name": b"Host: a\r\nX-\xe9: 1\r\nX-A: 2\r\n",
    "control characters": b"Host: a\r\nX-A: \x01\x1b\x7f\r\nX-B: \x85\x0b\x1c\r\nX-C: 3\r\n",
    "folded": b"Host: a\r\nX-A: 1\r\n  2\r\n\t3\r\nX-B: 4\r\n",
    "no colon": b"Host: a\r\nnonsense\r\nX-A: 1\r\n",
    "space before the colon": b"Host: a\r\nX-A : 1\r\nX-B: 2\r\n",
    "line feeds alone": b"Host: a\nX-A: 1\nX-B: 2\r\n",
    "quotes and semicolons": b'Host: a\r\nContent-Type: text/x; charset="utf-8"; q=a;b\r\nX-A: "a, b"\r\n',
    "multipart": b"Host: a\r\nContent-Type: multipart/form-data; boundary=xyz\r\nX-A: 1\r\n",
    "message": b"Host: a\r\nContent-Type: message/http\r\nX-A: 1\r\n",
    "encoded words": b"Host: a\r\nX-A: =?utf-8?q?caf=C3=A9?=\r\n",
    "token characters": b"Host: a\r\n!#$%&'*+-.^_`|~0aZ: 1\r\nX-A: 1\r\n",
    "many": b"Host: a\r\n" + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(95)),
    "long value": b"Host: a\r\nX-A: " + b"v" * 60000 + b"\r\n",
    "long name": b"Host: a\r\n" + b"N" * 5000 + b": 1\r\nX-A: 1\r\n",
}

MESSAGE_CLASSES = {
    "as it is": lambda: {},
    "stock": lambda: {"MessageClass": http.client.HTTPMessage},
    "subclass": lambda: {"MessageClass": type("Mine", (http.client.HTTPMessage,), {"own": True})},
    "with get of its own": lambda: {"MessageClass": type("Mine", (http.client.HTTPMessage,), {
        "get": lambda self, name, failobj=None: f"my {name}"})},
    "email.message.Message": lambda: {"MessageClass": email.message.Message},
    "with a policy": lambda: {"MessageClass": lambda policy=None: http.client.HTTPMessage(email.policy.HTTP)},
}


def look(self, seen):
    """Notes everything a handler can ask of its headers."""
    headers = self.headers
    seen.append(repr(headers.items()))
    seen.append([(name, [look(headers, name) for look in LOOKS.values()])
                 for name in ("host", "X-A", "x-b", "X-\xe9", "missing", "Content-Type", "n" * 5000)])
    seen.append((headers.keys(), headers.values(), len(headers), str(headers), headers.get_content_type(),
                 headers.get_params(), headers.is_multipart(), repr(headers.defects), sorted(vars(headers))))
    seen.append((hasattr(headers, "own"), isinstance(headers, http.client.HTTPMessage)))
    del headers["X-A"]
    headers["X-New"] = "n"
    seen.append((headers.items(), "x-a" in headers, headers.get("x-new")))
    respond(self)


@pytest.mark.parametrize("lane", ["reactor", "blocking"])
@pytest.mark.parametrize("message_class", MESSAGE_CLASSES)
@pytest.mark.parametrize("head", HEADS)
def test_over_a_server(head, message_class, lane, monkeypatch):
    monkeypatch.setenv("TURBOSERVER_LANE", lane)
    request = b"GET / HTTP/1.1\r\n" + HEADS[head] + b"\r\n"
    assert_same(f"headers/{head}", handling(look, **MESSAGE_CLASSES[message_class]()), request)


@pytest.mark.parametrize("lane", ["reactor", "blocking"])
@pytest.mark.parametrize("answer", [("no", "text"), b"close", 5, ""])
def test_get_that_gives_no_text(answer, lane, monkeypatch):
    """It is asked before anything else is: what comes of it is what comes of it in the original."""
    monkeypatch.setenv("TURBOSERVER_LANE", lane)
    members = {"MessageClass": type("Mine", (http.client.HTTPMessage,), {"get": lambda self, *name: answer})}
    assert_same("headers/get of no text", handling(look, **members), b"GET / HTTP/1.1\r\n" + HEADS["usual"] + b"\r\n")


def test_assigned_on_the_handler():
    """MessageClass of one handler object, from its second request on."""
    def do(self, seen):
        seen.append((type(self.headers).__name__, self.headers.get("x-a"), self.headers.items()))
        self.MessageClass = Mine
        respond(self)

    Mine = type("Mine", (http.client.HTTPMessage,), {"get": lambda self, name, failobj=None: "mine"})
    request = b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n"
    assert_same("headers/assigned", handling(do), request * 2)
