"""What the file server can be told: its options, and what makes no sense among them.

The types of the options refuse what cannot be meant, by ArgumentTypeError; what two options say together is looked at
by binds_of() and check(). Bad usage is one line on standard error and exit code 2.

What may not live here: looking at the machine; how anything is done.
"""

import argparse
import ipaddress
import re

from turboserver.deploy import binds

from . import addresses, request_log
from .options import UPLOAD_BOUND

__all__ = ["PORT", "VARIABLE", "binds_of", "check", "parser"]

PORT = 8000
VARIABLE = "TURBOSERVER_AUTH"      # other users of the machine cannot see it, as they do a command line
_MAX_PORT = 65535
_SIZE_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_MAX_SECONDS = 2**31 - 1            # RFC 9111, 1.2.2
_LONGEST_HEADER = 8192
# RFC 9110, 5.1 and 5.5; a value is sent as octets of ISO 8859-1.
_header = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f\u0100-\U0010ffff]*)").fullmatch
# They say where an answer ends; a wrong one is another answer for who reads on.
_FRAMING = ("connection", "content-length", "transfer-encoding")

_DESCRIPTION = "Serve the files of a folder (default: the current one)."
_EPILOG = """\
examples:
  turboserver                                     this folder, to everybody on the network
  turboserver site --bind 127.0.0.1 --open        a folder, to this machine, in the browser
  turboserver dist --spa --cache 3600 --compress  a single-page application
  turboserver --upload --tls-self-signed --qr --auth anna:secret
                                                  a place for the photographs of a telephone

other commands (a folder of that name is ./run):
  turboserver run SCRIPT         run an unchanged program with turboserver's classes
  turboserver wsgi MODULE:APP    serve a WSGI application
  turboserver explain CLASS      say how fast a handler or server class can be served, and why
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"turboserver: {addresses.shown(message)} (turboserver --help shows the options)\n")


def parser():
    from turboserver import __version__
    made = _Parser(prog="turboserver", usage="turboserver [OPTIONS] [DIR]", description=_DESCRIPTION, epilog=_EPILOG,
                     formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    made.add_argument("--version", action="version", version=f"turboserver {__version__}")
    made.add_argument("directory", metavar="DIR", nargs="?", help="the folder (default: the current one)")
    add = made.add_argument_group("where").add_argument
    add("-p", "--port", type=_port, help=f"listen on this port (default: {PORT}, or the next one that is free)")
    add("-b", "--bind", metavar="ADDRESS", action="append", default=[], type=_bind,
        help="HOST, HOST:PORT, [IPV6]:PORT or :PORT; may be repeated (default: every address, IPv4 and IPv6)")
    add("--unix", metavar="PATH", type=_unix, help="listen on this Unix socket, and elsewhere only if that is asked for")
    add = made.add_argument_group("what").add_argument
    add("--cors", action="store_true", help="let the scripts of every site read (Access-Control-Allow-Origin: *)")
    add("-H", "--header", metavar='"NAME: VALUE"', action="append", default=[], type=_header_of,
        help="a header for each answer; may be repeated")
    add("--cache", metavar="SECONDS", type=_seconds, help="browsers may keep files for so long (Cache-Control)")
    add("--spa", action="store_true", help="a path that names nothing and has no extension is /index.html")
    add("--compress", action="store_true", help="compress text, and folder pages, as they are sent")
    add("--no-page", action="store_true", help="the plain list of http.server instead of the folder page")
    add("--follow-outside", action="store_true", help="links may lead out of the folder")
    add = made.add_argument_group("who").add_argument
    add("--auth", metavar="USER:PASSWORD|@FILE",
        help="ask for a password; a FILE has a line USER:HASH for each user (htpasswd -B, needs turboserver[auth]). The "
             f"variable {VARIABLE} says the same where the list of processes does not show it")
    add("--upload", action="store_true", help="let visitors add files, and replace them by PUT; the page asks before it does")
    add("--upload-bound", metavar="SIZE", type=_size, help=f"of one upload: 500M, 2G (default: {UPLOAD_BOUND >> 30}G)")
    add = made.add_argument_group("TLS").add_argument
    add("--tls-cert", metavar="PATH", help="serve HTTPS with this certificate chain (PEM)")
    add("--tls-key", metavar="PATH", help="its key, if that is in another file")
    add("--tls-self-signed", action="store_true",
        help="serve HTTPS with a certificate made for this run, whose fingerprint is shown (needs turboserver[tls])")
    add = made.add_argument_group("on the terminal").add_argument
    add("--qr", action="store_true", help="show the address as a QR code (needs turboserver[qr])")
    add("--open", action="store_true", help="open it in the browser")
    add("--log-format", choices=tuple(request_log.FORMATS), help="of the line for each request (default: http.server's)")
    add("--quiet", action="store_true", help="say nothing but warnings and errors")
    return made


def _refuse(text, error):
    raise argparse.ArgumentTypeError(f"{text!r} {error}")


def _port(text):
    if not (text.isascii() and text.isdigit()) or int(text) > _MAX_PORT:
        _refuse(text, f"is no port from 0 to {_MAX_PORT}")
    return int(text)


def _bind(text):
    """A binds.Bind, or a host without a port (str)."""
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        ipaddress.IPv6Address(host)
        return host
    except ValueError:
        pass
    if text.isdigit():      # inet_aton() would make an address of it
        _refuse(text, f"is no address (a port is -p {text}, or :{text})")
    if re.fullmatch(r"[^\[\]:/@\s]+", text):
        return text
    try:
        return binds.parse(text)
    except ValueError as error:
        if str(error).startswith("port"):
            raise argparse.ArgumentTypeError(str(error)) from None
        _refuse(text, "is no address: HOST, HOST:PORT, [IPV6]:PORT or :PORT")


def _unix(text):
    try:
        return binds.parse(f"unix:{text}")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _header_of(text):
    """(name, value)"""
    match = _header(text)
    if match is None or len(text) > _LONGEST_HEADER:
        _refuse(text, 'is no header: "Name: value"')
    if match[1].lower() in _FRAMING:
        _refuse(text, "is for the server to say")
    return match[1], match[2].rstrip(" \t")


def _seconds(text):
    if not (text.isascii() and text.isdigit()) or int(text) > _MAX_SECONDS:
        _refuse(text, "is no number of seconds")
    return int(text)


def _size(text):
    """Octets."""
    match = re.fullmatch(r"([0-9]{1,15})([KMGT]?)(?:i?B)?", text, re.ASCII | re.IGNORECASE)
    if match is None or int(match[1]) == 0:
        _refuse(text, "is no size: 500M, 2G, or octets")
    return int(match[1]) << _SIZE_UNITS[match[2].upper()]


def binds_of(arguments):
    """(list of binds.Bind, and str for hosts that get the port; whether the port was asked for). Raises ValueError."""
    asked = list(arguments.bind)
    explicit = arguments.port is not None
    if asked and explicit and not any(isinstance(bind, str) for bind in asked):
        raise ValueError("--port has no use here: each --bind says its own")
    for number, bind in enumerate(asked):
        if bind in asked[:number]:
            raise ValueError(f"--bind {bind if isinstance(bind, str) else bind.text} is there twice")
        # With port 0 each has one of its own.
        if arguments.port != 0 and isinstance(bind, str) and any(_is_among(bind, every) for every in asked if isinstance(every, str)):
            raise ValueError(f"--bind {bind} is one of all addresses, which are asked for, too")
    if arguments.unix is not None:
        if not asked and explicit:
            asked.append("")
        asked.append(arguments.unix)
    return asked or [""], explicit


def _is_among(host, every):
    """Whether `every` is 0.0.0.0 or ::, and `host` an address of its kind. Names are not looked up."""
    try:
        one, other = ipaddress.ip_address(host.partition("%")[0]), ipaddress.ip_address(every)
    except ValueError:
        return False
    return other.is_unspecified and not one.is_unspecified and one.version == other.version


def check(arguments):
    if arguments.tls_key and not arguments.tls_cert:
        raise ValueError("--tls-key is for --tls-cert")
    if arguments.tls_self_signed and arguments.tls_cert:
        raise ValueError("--tls-self-signed and --tls-cert are two certificates")
    if arguments.upload_bound is not None and not arguments.upload:
        raise ValueError("--upload-bound is for --upload")
    for option in ("qr", "open"):
        if getattr(arguments, option) and arguments.unix is not None and not arguments.bind and arguments.port is None:
            raise ValueError(f"--{option} needs an address, which a Unix socket is not")
