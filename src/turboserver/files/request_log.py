"""The log of the file server: a line on standard error for each answer, in a format of the command line.

    common     Apache's "%h - %u %t \\"%r\\" %>s %b"
    combined   the same, then Referer and User-Agent
    json       one object a line
    short      the time, the status, the request and the client's address

Without a format the lines are http.server's own, which the engine writes natively.

Invariants: nothing a client sends begins a line or ends a field. A user is named where the answer is below 400: only
then the password was right. The number of octets is what log_request() was told, "-" mostly: the line is written
before the body is.

Any thread. What may not live here: whether somebody may come in.
"""

import contextlib
import json
import os
import sys
import time

from turboserver.deploy.access_log import _common_time, _field, _iso_time, _word

from . import auth

__all__ = ["FORMATS", "logging", "unfailing"]


def _user(handler, status):
    options, fields = getattr(handler, "turbo_files", None), getattr(handler, "headers", None)
    if options is None or options.auth is None or not fields or not 200 <= status < 400:
        return None
    if handler.command == "OPTIONS":
        return None         # a preflight has not been asked who it is
    found = auth.parse(fields.get("Authorization"))
    return None if found is None else found[0].decode("utf-8", "replace")


def _sent(handler, name):
    """A request's field, "" without it; of a request that could not be read as well."""
    fields = getattr(handler, "headers", None)
    return (fields.get(name) or "") if fields else ""


def _address(handler):
    """A client that came by IPv4 to a socket for both has an address of IPv6 that says so (RFC 4291, 2.5.5.2)."""
    return handler.address_string().removeprefix("::ffff:")


def _common(handler, status, size):
    return (f'{_word(_address(handler))} - {_word(_user(handler, status))} [{_common_time()}] '
            f'"{_field(handler.requestline)}" {status or "-"} {size}')


def _combined(handler, status, size):
    return (f'{_common(handler, status, size)} "{_field(_sent(handler, "Referer"))}" '
            f'"{_field(_sent(handler, "User-Agent"))}"')


def _json(handler, status, size):
    method, _, rest = handler.requestline.partition(" ")
    target, _, protocol = rest.rpartition(" ")
    return json.dumps({
        "time": _iso_time(), "remote_addr": _address(handler), "remote_user": _user(handler, status) or "",
        "method": method, "host": _sent(handler, "Host"), "target": target, "protocol": protocol, "status": status,
        "bytes": int(size) if str(size).isdigit() else None, "referer": _sent(handler, "Referer"),
        "user_agent": _sent(handler, "User-Agent")}, separators=(",", ":"))


def _short(handler, status, size):
    request = handler.requestline.removesuffix(" HTTP/1.1")
    return f"{time.strftime('%H:%M:%S')} {status or '-'} {_field(request)} {_word(_address(handler))}"


FORMATS = {"common": _common, "combined": _combined, "json": _json, "short": _short}


class _Unfailing:
    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)


def unfailing(stream):
    """`stream` for lines of a log: an answer is not to fail because nobody reads them, or the disk is full. None, where
    the process was started without it, is a stream that drops them."""
    return open(os.devnull, "w", errors="backslashreplace") if stream is None else _Unfailing(stream)


class _Named:
    """A client of a Unix socket has no address; the original would look for one."""

    def address_string(self):
        return super().address_string() if self.client_address else "unix"


class _Quiet:
    def log_request(self, code="-", size="-"):
        pass

    def log_message(self, format, *arguments):
        pass


def logging(handler_class, *, format=None, quiet=False, unix=False):
    """`handler_class` with its log in this format (a name in FORMATS; None: http.server's), or without one.

    unix: whether there is a Unix socket among its addresses.
    """
    bases = (_Named,) if unix else ()
    attributes = {}
    if quiet:
        bases += (_Quiet,)
    elif format is not None:
        write = FORMATS[format]

        def log_request(self, code="-", size="-"):
            status = int(code) if str(code).isdigit() or hasattr(code, "value") else 0
            line = write(self, status, size) + "\n"
            with contextlib.suppress(OSError, ValueError):      # an answer is not to fail for its log
                sys.stderr.write(line)

        def log_error(self, format, *arguments):
            """Nothing: the line of the answer says it, and these are no lines of the format."""

        attributes = {"log_request": log_request, "log_error": log_error}
    if not bases and not attributes:
        return handler_class
    return type(handler_class.__name__, (*bases, handler_class), attributes)
