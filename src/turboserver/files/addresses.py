"""What is shown when the file server starts: the addresses that one can click on, those of the local network too, a
code for the camera of a telephone, and colours where they can be seen.

Nothing here asks a name server, and no packet is sent: the kernel says which address it would use.

Main thread. What may not live here: listening; what is served.
"""

import io
import ipaddress
import os
import socket
from typing import NamedTuple

from turboserver.deploy import DeployError

__all__ = ["Colours", "Url", "banner", "chosen", "is_local", "is_terminal", "lan_addresses", "need_qr", "qr", "shown",
           "urls"]

# Where somebody could be, for the question which of our addresses leads there: RFC 5737 and RFC 3849 (behind the
# default route), RFC 1918.
_ELSEWHERE = (
    (socket.AF_INET, "192.0.2.1"), (socket.AF_INET, "192.168.255.254"), (socket.AF_INET, "10.255.255.254"),
    (socket.AF_INET, "172.31.255.254"), (socket.AF_INET6, "2001:db8::1"))


class Url(NamedTuple):
    """text: what one clicks on, or unix:PATH. local: whether it leads here from this machine alone."""
    text: str
    local: bool


def shown(text):
    """`text` on one line, and without what moves a cursor: a folder's name may have anything in it."""
    return "".join(ch if ch.isprintable() else "?" for ch in text)


def is_terminal(stream):
    """Whether somebody looks at `stream`, which is None where the process was started without it."""
    return stream is not None and stream.isatty()


class Colours:
    """Escape sequences for `stream`; all are empty if it is no terminal, or where NO_COLOR is set (no-color.org)."""

    def __init__(self, stream):
        seen = is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.strong, self.url, self.quiet, self.warning, self.reset = (
            ("\x1b[1m", "\x1b[36m", "\x1b[2m", "\x1b[33m", "\x1b[0m") if seen else ("",) * 5)


def lan_addresses():
    """Addresses of this machine by which others may reach it, the likeliest first; perhaps none. No loopback ones."""
    found = []
    for family, address in _ELSEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((address, 9))
                own = probe.getsockname()[0]
        except OSError:
            continue        # no such protocol, or no way there
        parsed = ipaddress.ip_address(own)
        if not (parsed.is_loopback or parsed.is_unspecified or parsed.is_link_local) and own not in found:
            found.append(own)
    return found


def _address(sock):
    return ipaddress.ip_address(sock.getsockname()[0].partition("%")[0])


def is_local(sock):
    """Whether only this machine can reach what listens at `sock`."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return True
    address = _address(sock)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def urls(sock, scheme, lan):
    """The Url of each address at which `sock` can be reached. scheme: "http" or "https". lan: of lan_addresses()."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        name = sock.getsockname()
        return [Url("unix:" + ("@" + os.fsdecode(name[1:]) if isinstance(name, bytes) else name), True)]
    address, port = _address(sock), sock.getsockname()[1]
    if not address.is_unspecified:
        return [_url(scheme, sock.getsockname()[0], port, is_local(sock))]
    six = sock.family == socket.AF_INET6
    both = six and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    others = [own for own in lan if (":" in own) == six or both]
    return [_url(scheme, "::1" if six and not both else "localhost", port, True),
            *(_url(scheme, own, port, False) for own in others)]


def _url(scheme, host, port, local):
    if ":" in host:
        host = "[" + host.replace("%", "%25") + "]"     # RFC 6874, 2
    return Url(f"{scheme}://{host}:{port}/", local)


def chosen(found):
    """The URL for somebody elsewhere, else one for here; None if there is none (a Unix socket)."""
    web = [url for url in found if not url.text.startswith("unix:")]
    return next((url.text for url in web if not url.local), web[0].text if web else None)


def banner(directory, found, notes, colours):
    """The text for people. directory: what is served. found: Url each. notes: lines for the end."""
    width = max(len(url.text) for url in found)
    lines = [f"{colours.strong}Serving {shown(directory)}{colours.reset}"]
    for url in found:
        text = f"  {colours.url}{shown(url.text)}{colours.reset}"
        if not url.local:
            text += f"{' ' * (width - len(url.text))}  {colours.quiet}for others on the network{colours.reset}"
        lines.append(text)
    return "\n".join([*lines, *notes]) + "\n"


def need_qr():
    """The module segno. Raises DeployError without it."""
    try:
        import segno
    except ImportError:
        raise DeployError("--qr needs segno: pip install 'turboserver[qr]'") from None
    return segno


def qr(url, encoding):
    """The QR code of `url` in half blocks, two rows a line. encoding: of where it is printed; None if that has no such
    characters."""
    out = io.StringIO()
    need_qr().make(url, error="l", micro=False).terminal(out, border=2, compact=True)
    try:
        out.getvalue().encode(encoding or "ascii")
    except (UnicodeError, LookupError):
        return None
    return out.getvalue()
