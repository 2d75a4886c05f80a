"""The access log: one line for each answer, as `turbo_access_log` of a server.

    common     Apache's "%h - %u %t \\"%r\\" %>s %b"
    combined   the same, then Referer and User-Agent
    json       one object a line

Nothing a client sends can begin a line or end a field: quotes, backslashes, controls and octets of 8 bits are
written as \\xHH, paths per cent. A line is one write() to a descriptor that appends: workers share the file,
and there is nothing that could be lost at the end. The descriptor keeps its number for good; reopen() puts
another file behind it, while others write.

Any thread may log. What may not live here: what is logged elsewhere (wsgi.errors).
"""

import contextlib
import functools
import os
import re
import select
import sys
import time
from json.encoder import encode_basestring_ascii as quoted
from urllib.parse import quote

from . import DeployError

__all__ = ["FORMATS", "AccessLog"]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PATH_SAFE = "/!$&'()*+,;=:@~"      # RFC 3986, pchar, beside what quote() always leaves
_plain_path = re.compile(r"[A-Za-z0-9/!$&'()*+,;=:@~._-]*").fullmatch
_unsafe = re.compile(r'[^ !#-\[\]-~]')
_has_unsafe = _unsafe.search
# How long a reader of the log (a pipe, a terminal) that takes nothing may hold up an answer; the next
# ones do not wait until it takes something.
_STALL_SECONDS = 5.0


def _escape(text):
    return _unsafe.sub(lambda match: f"\\x{ord(match[0]):02x}" if ord(match[0]) < 256 else "?", text)


def _field(value):
    """What stands between quotes."""
    if not value:
        return "-"
    if not isinstance(value, str):      # REMOTE_USER is whatever a middleware puts there
        value = str(value)
    return _escape(value) if _has_unsafe(value) else value


def _word(value):
    """What stands without quotes: no space either."""
    return _field(value).replace(" ", "\\x20")


def _quote_path(path):
    return path if _plain_path(path) else quote(path, safe=_PATH_SAFE, encoding="latin-1", errors="replace")


_known_path = functools.lru_cache(maxsize=1024)(_quote_path)
_LONGEST_KNOWN = 256        # octets of a path that is remembered


def _target(environ):
    """The request target, in the octets that no middleware changes by shifting its parts."""
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "") or "/"
    path = _known_path(path) if len(path) <= _LONGEST_KNOWN else _quote_path(path)
    query = environ.get("QUERY_STRING")
    return f"{path}?{query}" if query else path


class _Clock:
    """The time as the formats write it, made once a second."""

    def __init__(self, make):
        self._make, self._now = make, (0, "")

    def __call__(self):
        second = int(time.time())
        known = self._now       # one object: another thread may put the next one there
        if known[0] != second:
            known = self._now = second, self._make(time.localtime(second))
        return known[1]


def _offset(now, colon=""):
    minutes = (now.tm_gmtoff or 0) // 60
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    return f"{sign}{minutes // 60:02d}{colon}{minutes % 60:02d}"


_common_time = _Clock(lambda now: f"{now.tm_mday:02d}/{_MONTHS[now.tm_mon - 1]}/{now.tm_year}:"
                                  f"{now.tm_hour:02d}:{now.tm_min:02d}:{now.tm_sec:02d} {_offset(now)}")
_iso_time = _Clock(lambda now: f"{now.tm_year}-{now.tm_mon:02d}-{now.tm_mday:02d}T"
                               f"{now.tm_hour:02d}:{now.tm_min:02d}:{now.tm_sec:02d}{_offset(now, ':')}")


def _is_plain(text):
    """Whether there is nothing to escape: one look at all that a client has sent, for most lines."""
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def common(environ, status, sent, seconds):
    """One line without its end."""
    get = environ.get
    address, user = get("REMOTE_ADDR") or "-", get("REMOTE_USER") or "-"
    method, protocol = get("REQUEST_METHOD") or "-", get("SERVER_PROTOCOL") or "-"
    request = f"{method} {_target(environ)} {protocol}"
    if user != "-" or " " in address or not _is_plain(address + request):
        address, user, request = _word(address), _word(user), _field(request)
    return f'{address} - {user} [{_common_time()}] "{request}" {_status(status)} {sent or "-"}'


def combined(environ, status, sent, seconds):
    """One line without its end."""
    referer, agent = environ.get("HTTP_REFERER") or "-", environ.get("HTTP_USER_AGENT") or "-"
    if not _is_plain(referer + agent):
        referer, agent = _field(referer), _field(agent)
    return f'{common(environ, status, sent, seconds)} "{referer}" "{agent}"'


def _status(status):
    code = status[:3]
    return code if code.isdigit() and code.isascii() else "0"


def json(environ, status, sent, seconds):
    """One line without its end; what the client did not send is "" there."""
    def text(name):
        return quoted(str(environ.get(name) or ""))
    return (f'{{"time":"{_iso_time()}","remote_addr":{text("REMOTE_ADDR")},"remote_user":{text("REMOTE_USER")},'
            f'"method":{text("REQUEST_METHOD")},"scheme":{text("wsgi.url_scheme")},"host":{text("HTTP_HOST")},'
            f'"target":{quoted(_target(environ))},"protocol":{text("SERVER_PROTOCOL")},"status":{_status(status)},'
            f'"bytes":{sent:d},"seconds":{seconds:.6f},'
            f'"referer":{text("HTTP_REFERER")},"user_agent":{text("HTTP_USER_AGENT")}}}')


FORMATS = {"common": common, "combined": combined, "json": json}


class AccessLog:
    """Writes lines to the file `path` ("-": standard output). Raises DeployError if that cannot be opened.

    The object is what a server's turbo_access_log is: called with (environ, status, sent, seconds).
    """

    def __init__(self, path, format="combined"):
        self.path, self._format = path, FORMATS[format]
        self._complained = self._stalled = False
        try:
            self._fd = self._open()
        except OSError as error:
            raise DeployError(f"cannot write the access log {path}: {error.strerror}") from error

    def _open(self):
        if self.path == "-":
            return os.dup(1)
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def __call__(self, environ, status, sent, seconds):
        line = (self._format(environ, status, sent, seconds) + "\n").encode("latin-1", "replace")
        try:
            written = os.write(self._fd, line)
            if written != len(line):
                self._finish(line[written:])
        except BlockingIOError:
            self._finish(line)
        except OSError as error:
            self._complain(error)

    def _finish(self, line):
        """Write what is left: the disk is full, or the reader of a pipe is late."""
        end = time.monotonic() + (0.0 if self._stalled else _STALL_SECONDS)
        try:
            while line:
                self._stalled = not select.select((), [self._fd], (), max(0.0, end - time.monotonic()))[1]
                if self._stalled:
                    return self._complain(TimeoutError(0, "its reader takes nothing"))
                with contextlib.suppress(BlockingIOError):
                    line = line[os.write(self._fd, line):]
        except (OSError, ValueError) as error:
            self._complain(error)

    def _complain(self, error):
        """Once: an answer is not to fail for its log, and the disk is full for many of them."""
        if not self._complained:
            self._complained = True
            with contextlib.suppress(OSError, ValueError):
                print(f"turboserver: cannot write the access log {self.path}: "
                      f"{getattr(error, 'strerror', None) or error}", file=sys.stderr, flush=True)

    def reopen(self):
        """Write to a new file of that name from now on: the old one was moved away."""
        if self.path == "-":
            return
        try:
            new = self._open()
        except OSError as error:
            return self._complain(error)
        os.dup2(new, self._fd, inheritable=False)
        os.close(new)
        self._complained = False

    def close(self):
        os.close(self._fd)
