"""What proxies say of the client: X-Forwarded-For, -Proto, -Host, -Port, -Prefix, and Forwarded (RFC 7239).

Only a proxy at an address that is trusted is believed. From anybody else, and of what is malformed, the fields
are removed, so that no part of an application believes them either.

    address   X-Forwarded-For from right to left: each trusted proxy tells who spoke to it, until one that is
              not trusted, the client; or until something that is no address, then the last one known.
    the rest  the last value of each field, which the nearest proxy wrote; values before it may be the client's.
    Forwarded the element that tells of the client, which the outermost trusted proxy wrote. It counts only
              where there is no X-Forwarded field: a proxy that writes one kind passes on the other as
              the client sent it.

A proxy that is trusted has to set or to remove each field of the kind it writes; `fields` says which ones count.

Any thread. What may not live here: the root path (root_path.py), for which nobody has to be trusted.
"""

import functools
import ipaddress
import re
from urllib.parse import unquote

__all__ = ["FIELDS", "Forwarded", "Trust"]

# The fields that can be asked for, and what each is called in environ.
FIELDS = {"for": "HTTP_X_FORWARDED_FOR", "proto": "HTTP_X_FORWARDED_PROTO", "host": "HTTP_X_FORWARDED_HOST",
          "port": "HTTP_X_FORWARDED_PORT", "prefix": "HTTP_X_FORWARDED_PREFIX", "forwarded": "HTTP_FORWARDED"}
# Others that say the same in the field, and that frameworks are told to believe.
_RELATED = ("HTTP_X_FORWARDED_PROTOCOL", "HTTP_X_FORWARDED_SCHEME", "HTTP_X_FORWARDED_SSL", "HTTP_X_FORWARDED_SERVER",
            "HTTP_X_FORWARDED_BY", "HTTP_X_FORWARDED_PATH", "HTTP_X_FORWARDED_URI", "HTTP_X_REAL_IP",
            "HTTP_X_SCHEME", "HTTP_X_URL_SCHEME", "HTTP_X_SCRIPT_NAME", "HTTP_FRONT_END_HTTPS")
_ALL = (*FIELDS.values(), *_RELATED)
_X_FIELDS = tuple(name for name in FIELDS.values() if name != "HTTP_FORWARDED")

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_host = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?)(?::([0-9]{1,5}))?").fullmatch
_prefix = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+;=:@%-]+)*/?").fullmatch
_node = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?").fullmatch
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# RFC 7239, 4: forwarded-pair. The quoted-string is RFC 9110's, 5.6.4.
_pair = re.compile(rf'[ \t]*(?:({_TOKEN})=(?:({_TOKEN})|"((?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*)"))?'
                   r'[ \t]*([;,]|\Z)').match
_LONGEST_NODE = 100         # an address of IPv6 with a scope and a port
_MAX_ELEMENTS = 100     # a chain of more proxies is no chain, and each element costs time


def _address(text):
    """An address in its usual form, or None."""
    text = text.strip()
    return _known_address(text) if len(text) <= _LONGEST_NODE else None


@functools.lru_cache(maxsize=4096)
def _known_address(text):
    match = _node(text)
    try:
        return str(_plain(ipaddress.ip_address((match[1] or match[2]) if match else text)))
    except ValueError:
        return None


def _plain(address):
    """IPv4 that came by way of a socket of IPv6."""
    return getattr(address, "ipv4_mapped", None) or address


def _port(text):
    return text if text.isascii() and text.isdigit() and 0 < int(text) < 65536 and text[0] != "0" else None


class Trust:
    """Who is believed: `allowed` is text of addresses and networks with commas between them; "*" is everybody,
    "unix" who comes by a Unix socket. Raises ValueError with a text for people."""

    def __init__(self, allowed):
        self._everybody = self.unix = False
        self._networks = []
        for entry in filter(None, (part.strip() for part in allowed.split(","))):
            if entry == "*":
                self._everybody = self.unix = True
            elif entry == "unix":
                self.unix = True
            else:
                try:
                    self._networks.append(ipaddress.ip_network(entry, strict=False))
                except ValueError:
                    raise ValueError(f"{entry!r} is no address, no network, not '*' and not 'unix'") from None
        self.address = functools.lru_cache(maxsize=4096)(self._address)

    def _address(self, text):
        """Whether the address `text` is trusted (also callable as `address`, which remembers)."""
        if self._everybody:
            return True
        try:
            address = _plain(ipaddress.ip_address(text))
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    def peer(self, text):
        """The same for REMOTE_ADDR, which is "" for a Unix socket."""
        return self.address(text) if text else self.unix


class Forwarded:
    """A WSGI middleware: `application` sees the client, not the proxy.

    trust: Trust. fields: those of FIELDS that count; the others are removed.
    """

    def __init__(self, application, trust, fields=tuple(FIELDS)):
        self._application, self._trust = application, trust
        self._fields = {name: FIELDS[name] for name in fields}
        self._uncounted = tuple(name for field, name in FIELDS.items() if field not in fields)

    def __call__(self, environ, start_response):
        for name in _ALL:
            if name in environ:
                self._believe(environ)
                break
        return self._application(environ, start_response)

    def _believe(self, environ):
        if not self._trust.peer(environ.get("REMOTE_ADDR", "")):
            for name in _ALL:
                environ.pop(name, None)
            return
        for name in self._uncounted:
            environ.pop(name, None)
        if any(name in environ for name in _X_FIELDS):
            environ.pop("HTTP_FORWARDED", None)
            self._apply(environ, *self._x_forwarded(environ))
        elif "HTTP_FORWARDED" in environ:
            client, element = self._forwarded(environ)
            self._apply(environ, client, element.get("proto"), element.get("host"), None, None)

    def _x_forwarded(self, environ):
        """(address, scheme, host, port, prefix), None for what is not said."""
        def last(name):
            return environ.get(name, "").rpartition(",")[2].strip() or None
        nodes = environ.get(FIELDS["for"], "").split(",")[-_MAX_ELEMENTS:]
        client, _ = self._walk(nodes)
        return client, *(last(FIELDS[name]) for name in ("proto", "host", "port", "prefix"))

    def _walk(self, nodes):
        """The client of a chain of nodes, each the peer of the one after it, and how many were passed for it."""
        client, passed = None, 0
        for node in reversed(nodes):
            address = _address(node)
            if address is None:
                break
            client = address
            passed += 1
            if not self._trust.address(address):
                break
        return client, passed

    def _forwarded(self, environ):
        """(address or None, the element that tells of the client as a dict)."""
        elements = _elements(environ["HTTP_FORWARDED"])
        if elements is None:
            del environ["HTTP_FORWARDED"]
            return None, {}
        client, passed = self._walk([element.get("for", "") for element in elements])
        return client, elements[-max(passed, 1)]

    def _apply(self, environ, client, scheme, host, port, prefix):
        if client is not None:
            if environ.get("REMOTE_ADDR") != client:
                environ.pop("REMOTE_HOST", None)
                environ.pop("REMOTE_PORT", None)
            environ["REMOTE_ADDR"] = client
        else:
            environ.pop("HTTP_X_FORWARDED_FOR", None)
        scheme = _SCHEMES.get((scheme or "").lower())
        if scheme is None:
            environ.pop("HTTP_X_FORWARDED_PROTO", None)
        else:
            environ["wsgi.url_scheme"] = scheme
        self._apply_authority(environ, scheme, host, port and _port(port))
        prefix = _script_name(prefix) if prefix else None
        if prefix is None:
            environ.pop("HTTP_X_FORWARDED_PREFIX", None)
        else:
            environ["SCRIPT_NAME"] = prefix

    def _apply_authority(self, environ, scheme, host, port):
        """Host, and what a URL is made of where there is none (PEP 3333, URL Reconstruction)."""
        said = host
        match = _host(host or "")
        if match is None or match[2] and _port(match[2]) is None:
            environ.pop("HTTP_X_FORWARDED_HOST", None)
            said, match = None, _host(environ.get("HTTP_HOST", ""))
        if port is None:
            environ.pop("HTTP_X_FORWARDED_PORT", None)
            if said is None and scheme is None:
                return
            port = match and match[2] or _DEFAULT_PORTS[environ["wsgi.url_scheme"]]
        elif match is not None:
            usual = port == _DEFAULT_PORTS[environ["wsgi.url_scheme"]]
            said = match[1] if usual else f"{match[1]}:{port}"
        if said is not None:
            environ["HTTP_HOST"] = said
            environ["SERVER_NAME"] = match[1]
        environ["SERVER_PORT"] = port


def _script_name(prefix):
    """SCRIPT_NAME for a path per cent, or None if that is none: "" for "/"."""
    if not _prefix(prefix) or any(part in (".", "..") for part in unquote(prefix).split("/")):
        return None
    decoded = unquote(prefix, encoding="latin-1")
    if "//" in decoded or re.search(r"[\0-\x1f\x7f]", decoded):
        return None
    return decoded.rstrip("/")


def _elements(text):
    """The elements of a Forwarded field (RFC 7239, 4), each a dict of its parameters; None if it is malformed."""
    elements, element, at = [], {}, 0
    while True:
        match = _pair(text, at)
        if match is None:
            return None
        name, token, string, mark = match.groups()
        if name is not None:
            name = name.lower()
            if name in element:     # "must not occur more than once"
                return None
            element[name] = token if token is not None else re.sub(r"\\(.)", r"\1", string)
        if mark != ";":
            if element:
                elements.append(element)
            element = {}
            if not mark:
                return elements[-_MAX_ELEMENTS:] or None
        at = match.end()
