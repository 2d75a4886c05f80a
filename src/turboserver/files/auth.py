"""Who asks: Basic authentication (RFC 7617).

    auth = Basic(users_of("anna:secret"))           or users_of("@passwords")
    found = auth.check(headers.get("Authorization"), address)
    if found.user is None: answer with found.status and found.headers

No credentials are an exception, whatever is in them. A slow hash is verified once: that it was right is remembered
for a while, by a digest under a key of this process, so that nothing in memory is a password or a way to one; it is
the digest of the hash as well, so it ends when the file has another.

Invariants: a request that throttle.py holds back is not looked at, not even for what is remembered: else that would
tell quickly which guess was right. Requests without credentials, or with malformed ones, are no guesses.

Known weakness: each guess at a slow hash takes the processor as long as the hash wants, and a thousand clients
at a thousand addresses may make it once each. Without TLS everybody on the way reads the password.

Any thread. What may not live here: users and hashes (passwords.py); sending the answer; sleeping.
"""

import base64
import binascii
import collections
import hashlib
import math
import re
import secrets
import threading
import time
from http import HTTPStatus
from typing import NamedTuple

from .passwords import File, Mistake, Single
from .throttle import Throttle

__all__ = ["Basic", "Found", "Mistake", "parse", "users_of"]

REMEMBER = 300.0            # seconds for which a password need not be verified again
MAX_REMEMBERED = 1024       # users; a digest and a time each
_MAX_FIELD = 8192           # characters of credentials; a password of that length is none

# RFC 9110, 11.4: auth-scheme SP token68. base64 needs whole groups.
_BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_credentials = re.compile(rf"[ \t]*(?i:basic) +({_BASE64})[ \t]*", re.ASCII).fullmatch
_control = re.compile(rb"[\x00-\x1f\x7f]").search


class Found(NamedTuple):
    """user: the name, or None. status: HTTPStatus OK, UNAUTHORIZED, or TOO_MANY_REQUESTS (RFC 6585, 4).
    delay: seconds until another attempt is looked at. headers: ((name, value), ...) for the answer."""
    user: str | None
    status: HTTPStatus
    delay: float
    headers: tuple


def users_of(text, report=None):
    """The users that `text` says: USER:PASSWORD, or @FILE. Raises Mistake, OSError, ImportError; see passwords.py."""
    return File(text[1:], report) if text.startswith("@") else Single(text)


def parse(field):
    """(user, password) in octets, of the field Authorization; None if there is none, of another scheme or malformed.

    RFC 7617, 2: a name has no colon, neither has a control character.
    """
    match = _credentials(field) if field is not None and len(field) <= _MAX_FIELD else None
    if match is None:
        return None
    try:
        octets = base64.b64decode(match[1], validate=True)
    except binascii.Error:
        return None
    user, colon, password = octets.partition(b":")
    return (user, password) if colon and not _control(octets) else None


class Basic:
    """users: Single or File. realm: what people are shown. throttle: Throttle. Raises ValueError for a realm
    that cannot be sent."""

    def __init__(self, users, realm="files", *, throttle=None, remember=REMEMBER, max_remembered=MAX_REMEMBERED,
                 clock=time.monotonic):
        if not realm.isascii() or not realm.isprintable():
            raise ValueError("a realm is printable ASCII")
        self._users = users
        self._throttle = Throttle(clock=clock) if throttle is None else throttle
        quoted = re.sub(r'(["\\])', r"\\\1", realm)
        # RFC 7617, 2.1: names and passwords are in UTF-8.
        self.challenge = ("WWW-Authenticate", f'Basic realm="{quoted}", charset="UTF-8"')
        self._remembered = _Remembered(remember, max_remembered, clock)

    def check(self, field, address):
        """The Found for a request. field: Authorization, None if it is missing. address: the client's, text."""
        credentials = parse(field)
        if credentials is None:
            return self._refuse(0.0)
        wait = self._throttle.attempt(address)
        if wait > 0:
            return Found(None, HTTPStatus.TOO_MANY_REQUESTS, wait, (("Retry-After", str(math.ceil(wait))),))
        user, password = credentials
        right = False
        try:
            right = self._right(user, password)
        finally:
            delay = self._throttle.ended(address, right)
        if not right:
            return self._refuse(delay)
        return Found(user.decode("utf-8", "surrogateescape"), HTTPStatus.OK, 0.0, ())

    def _refuse(self, delay):
        return Found(None, HTTPStatus.UNAUTHORIZED, delay, (self.challenge,))

    def _right(self, user, password):
        if not self._users.slow:
            return self._users.verify(user, password)
        secret = self._users.secret_of(user)
        if secret is not None and self._remembered.has(user, password, secret):
            return True
        right = self._users.verify(user, password)
        # Right for another hash that was there for a moment is not right for this one.
        if right and secret is not None and secret == self._users.secret_of(user):
            self._remembered.add(user, password, secret)
        return right


class _Remembered:
    """Digests of what was right, each until a time. The one that was right longest ago goes first."""

    def __init__(self, seconds, number, clock):
        self._seconds, self._number, self._clock = seconds, number, clock
        self._key = secrets.token_bytes(64)
        self._lock = threading.Lock()
        self._until = collections.OrderedDict()

    def _digest(self, user, password, secret):
        # None of them can have NUL.
        return hashlib.blake2b(b"\0".join((user, password, secret.encode())), key=self._key).digest()

    def has(self, user, password, secret):
        digest = self._digest(user, password, secret)
        with self._lock:
            return self._until.get(digest, -math.inf) > self._clock()

    def add(self, user, password, secret):
        digest = self._digest(user, password, secret)
        with self._lock:
            self._until[digest] = self._clock() + self._seconds
            self._until.move_to_end(digest)
            while len(self._until) > self._number:
                self._until.popitem(last=False)

    def __len__(self):
        return len(self._until)
