"""The command line of `python -m turboserver.http.server`.

Job: the options of Python 3.15's `python -m http.server`, on every version. Options that the
running Python's SimpleHTTPRequestHandler does not know itself are brought in by a subclass.

The directory reaches the handler by functools.partial and not by an overridden
`finish_request`, which would keep the server out of the reactor lane.

Differences from the original, on purpose: a port that is taken or forbidden, an address or
a directory that does not exist, and a certificate that cannot be used are one line on stderr
and exit code 1, not a traceback (the original serves 404 for a directory that is not there).
-H also takes the one-argument form "Name: value".
"""

import argparse
import contextlib
import functools
import inspect
import mimetypes
import os
import posixpath
import socket
import sys

from turboserver.http.server import (
    SimpleHTTPRequestHandler, ThreadingHTTPServer, ThreadingHTTPSServer, header_names)

_MAX_PORT = 65535
_OCTETS = "application/octet-stream"


def main(argv=None):
    """Serve files as the command line `argv` says (default: sys.argv[1:]).

    Returns only by SystemExit: 0 after Ctrl-C, 1 if serving cannot begin, 2 for bad usage.
    """
    parser = _parser()
    arguments = parser.parse_args(_split_headers(sys.argv[1:] if argv is None else argv))
    password = _check(parser, arguments)
    handler = _handler(arguments)
    try:
        server = _server(arguments, handler, password)
    except (OSError, RuntimeError, ValueError, UnicodeError) as error:
        sys.exit(f"{parser.prog}: error: {_complaint(error, arguments)}")

    with server:
        host, port = server.socket.getsockname()[:2]
        scheme = "HTTPS" if arguments.tls_cert else "HTTP"
        url_host = f"[{host}]" if ":" in host else host
        serving, url, reset = _colours()
        print(f"{serving}Serving {scheme} on {host} port {port}{reset} "
              f"({url}{scheme.lower()}://{url_host}:{port}/{reset}) ...", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nKeyboard interrupt received, exiting.")
            sys.exit(0)


def _parser():
    coloured = {"color": True} if sys.version_info >= (3, 14) else {}
    parser = argparse.ArgumentParser(prog="python -m turboserver.http.server", **coloured)
    add = parser.add_argument
    add("-b", "--bind", metavar="ADDRESS", help="bind to this address (default: all interfaces)")
    add("-d", "--directory", help="serve this directory (default: current directory)")
    add("-p", "--protocol", metavar="VERSION", default="HTTP/1.0",
        help="conform to this HTTP version (default: %(default)s)")
    add("--content-type", default=_OCTETS, help="default content type for unknown extensions (default: %(default)s)")
    add("--tls-cert", metavar="PATH", help="path to the TLS certificate chain file")
    add("--tls-key", metavar="PATH", help="path to the TLS key file")
    add("--tls-password-file", metavar="PATH", help="path to the password file for the TLS key")
    add("port", type=int, nargs="?", default=8000, help="bind to this port (default: %(default)s)")
    add("-H", "--header", nargs=2, action="append", metavar=("HEADER", "VALUE"), default=[],
        help="Add a custom response header (can be specified multiple times)")
    return parser


def _colours():
    """What 3.15 puts before the start-up line, before its URL and after each of them."""
    try:
        from _colorize import get_theme
        theme = get_theme().http_server
    except (ImportError, AttributeError):
        return "", "", ""
    return theme.serving, theme.url, theme.reset


def _split_headers(argv):
    """Turn -H "Name: value" into -H Name value; no header name has a colon in it."""
    result = []
    arguments = iter(argv)
    for argument in arguments:
        flag, given = argument, None
        if argument.startswith("--header="):
            flag, given = "--header", argument[len("--header="):]
        elif argument.startswith("-H") and argument != "-H":
            flag, given = "-H", argument[2:]
        elif argument in ("-H", "--header"):
            given = next(arguments, None)
        result.append(flag)
        if given is not None:
            name, colon, value = given.partition(":")
            result += [name.strip(), value.strip()] if colon else [given]
            if not colon:       # the two-argument form: the value is not ours to look at
                result += [value for value in (next(arguments, None),) if value is not None]
    return result


def _check(parser, arguments):
    """Refuse what cannot be meant; return the key's password or None."""
    if not 0 <= arguments.port <= _MAX_PORT:
        parser.error(f"port must be 0 to {_MAX_PORT}, not {arguments.port}")
    for option in ("key", "password_file"):
        if getattr(arguments, f"tls_{option}") and not arguments.tls_cert:
            parser.error(f"--tls-{option.replace('_', '-')} requires --tls-cert to be set")
    for name, value in arguments.header:
        if not name or any(ch in "\r\n" for ch in name + value):
            parser.error(f"not a header: {name}: {value}")
    if arguments.directory is not None and not os.path.isdir(arguments.directory):
        sys.exit(f"{parser.prog}: error: no such directory: {arguments.directory}")
    if arguments.directory is None:
        try:
            arguments.directory = os.getcwd()
        except OSError as error:
            sys.exit(f"{parser.prog}: error: the current directory is gone: {error.strerror}")
    if not arguments.tls_password_file:
        return None
    try:
        with open(arguments.tls_password_file, encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeError) as error:
        parser.error(f"Failed to read TLS password file: {error}")


def _handler(arguments):
    bases, keywords = (SimpleHTTPRequestHandler,), {"directory": arguments.directory}
    if arguments.header:
        headers = [tuple(pair) for pair in arguments.header]
        if "extra_response_headers" in inspect.signature(SimpleHTTPRequestHandler.__init__).parameters:
            keywords["extra_response_headers"] = headers
        else:
            bases = (type("_", (_ExtraHeaders,), {"extra_response_headers": headers}), *bases)
    if arguments.content_type != _OCTETS:
        bases = (_DefaultContentType, *bases)
    cls = type("SimpleHTTPRequestHandler", bases, {
        "__doc__": SimpleHTTPRequestHandler.__doc__,
        "protocol_version": arguments.protocol, "default_content_type": arguments.content_type})
    return functools.partial(cls, **keywords)


class _ExtraHeaders:
    """3.15's extra_response_headers for older SimpleHTTPRequestHandlers: with status 200 only,
    and never beside a header of that name that is sent anyway."""

    def send_response(self, code, message=None):
        self._answers_ok = code == 200
        super().send_response(code, message)

    def end_headers(self):
        if self.__dict__.pop("_answers_ok", False):
            sent = header_names(self)
            for name, value in self.extra_response_headers:
                if name.lower() not in sent:
                    self.send_header(name, value)
        super().end_headers()


class _DefaultContentType:
    """3.15's default_content_type, on every version: the other types as the original has them."""

    def guess_type(self, path):
        guess = super().guess_type(path)
        extension = posixpath.splitext(path)[1]
        known = (guess != _OCTETS or extension in self.extensions_map
                 or extension.lower() in self.extensions_map or mimetypes.guess_type(path)[0])
        return guess if known else self.default_content_type


class _DualStack:
    """Listens on IPv4 as well when it listens on IPv6."""

    def server_bind(self):
        with contextlib.suppress(Exception):    # an IPv4 socket has no such option
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return super().server_bind()


def _server(arguments, handler, password):
    base = ThreadingHTTPSServer if arguments.tls_cert else ThreadingHTTPServer
    cls = type("DualStackServer", (_DualStack, base), {})
    if arguments.bind is None and socket.has_dualstack_ipv6():
        cls.address_family, address = socket.AF_INET6, ("::", arguments.port)
    else:
        cls.address_family, _, _, _, address = socket.getaddrinfo(
            arguments.bind, arguments.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    if arguments.tls_cert:
        return cls(address, handler, certfile=arguments.tls_cert, keyfile=arguments.tls_key, password=password)
    return cls(address, handler)


def _complaint(error, arguments):
    if isinstance(error, socket.gaierror):
        return f"cannot bind to {arguments.bind}: {error.strerror}"
    if arguments.tls_cert and (type(error).__module__ == "ssl" or not isinstance(error, OSError)
                               or isinstance(error, FileNotFoundError)):
        files = ", ".join(filter(None, (arguments.tls_cert, arguments.tls_key)))
        return f"cannot use the certificate ({files}): {getattr(error, 'strerror', None) or error}"
    where = f"{arguments.bind} port {arguments.port}" if arguments.bind else f"port {arguments.port}"
    return f"cannot listen on {where}: {getattr(error, 'strerror', None) or error}"


if __name__ == "__main__":
    main()
