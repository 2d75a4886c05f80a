"""Who may come in, and whether a password is theirs: one user of the command line, or a file of htpasswd.

A file has a line for each user, NAME:HASH, and lines that are empty or begin with "#". Hashes that are taken:

    $2a$ $2b$ $2y$                      bcrypt (htpasswd -B)
    $argon2id$ $argon2i$ $argon2d$      Argon2
    $6$                                 SHA-512 crypt (openssl passwd -6)

Others (MD5, SHA-1, DES, none at all) are refused by line: who has the file has the passwords.

The hashes are verified by libpass, the maintained passlib (the extra turboserver[auth]). Why this one: it knows all
three kinds; bcrypt and argon2-cffi, which do the work for it, know one each, pwdlib has these two alone, and passlib
itself has had no release since 2020, needs the module crypt that Python 3.13 has no more, and fails with bcrypt 5.

Invariants: verify() takes as long for a user that does not exist as for one that does: another user's hash is
verified then, always the same one for the same name. A file is looked at before each use, and read again if it is
another; while what is in it cannot be read, the users are those of before, and the mistake is reported once.

Any thread. What may not live here: HTTP (auth.py), remembering passwords.
"""

import hashlib
import hmac
import os
import re
import secrets
import sys
import threading
import time

__all__ = ["File", "Mistake", "Single"]

MAX_FILE = 4 * 2**20        # octets of a file: some ten thousand users
_CLOCK_NS = 2 * 10**9       # a file may change twice within that and have the same time (FAT)
_control = re.compile(rb"[\x00-\x1f\x7f]").search

# The kinds of hashes: what each begins with, what it looks like whole, and its name in passlib.hash.
_KINDS = (
    ("bcrypt", re.compile(r"\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}").fullmatch),
    ("argon2", re.compile(r"\$argon2(?:id|i|d)\$(?:v=[0-9]+\$)?m=[0-9]+,t=[0-9]+,p=[0-9]+"
                          r"\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+").fullmatch),
    ("sha512_crypt", re.compile(r"\$6\$(?:rounds=[0-9]{1,9}\$)?[./A-Za-z0-9]{0,16}\$[./A-Za-z0-9]{86}").fullmatch),
)


class Mistake(ValueError):
    """Something in what was given or in a file; its text is one line for people, and names the line of a file."""


class Single:
    """One user. text: USER:PASSWORD, of which neither may be empty. Raises Mistake."""

    slow = False

    def __init__(self, text):
        user, colon, password = text.partition(":")
        if not (user and colon and password):
            raise Mistake("USER:PASSWORD is wanted, or @FILE")
        if _control(text.encode("utf-8", "surrogateescape")):
            raise Mistake("a control character in a user's name or password")
        self._key = secrets.token_bytes(32)
        self._digest = self._digest_of(*(part.encode("utf-8", "surrogateescape") for part in (user, password)))

    def _digest_of(self, user, password):
        return hashlib.blake2b(user + b":" + password, key=self._key).digest()

    def verify(self, user, password):
        """Whether it is this user with this password (bytes both)."""
        return hmac.compare_digest(self._digest, self._digest_of(user, password))

    def secret_of(self, user):
        """What verify() compares with: as long as it is the same, so is the answer. None for nobody."""
        return None


class File:
    """The users of a file. Raises Mistake, OSError, and ImportError with a text for people if libpass is not there.

    report: called with a line of text when the file has become unreadable (default: on sys.stderr).
    """

    slow = True

    def __init__(self, path, report=None):
        self._path, self._report = os.fspath(path), report or _print
        self._lock = threading.Lock()
        self._choice_key = secrets.token_bytes(16)
        _hashers()
        self._reported = None
        self._seen = self._look()
        self._users = self._read()

    def verify(self, user, password):
        """Whether the file has the user with this password (bytes both)."""
        users = self._current()
        known = users.get(user)
        if not users:
            return False
        return _verify(self._another(users, user) if known is None else known, password) and known is not None

    def secret_of(self, user):
        """The hash of a user (bytes), None for nobody."""
        return self._current().get(user)

    def _another(self, users, user):
        """The hash that is verified for a name that is not there."""
        choice = hashlib.blake2b(user, key=self._choice_key, digest_size=8).digest()
        return list(users.values())[int.from_bytes(choice, "big") % len(users)]

    def _current(self):
        with self._lock:
            seen = self._look()
            if seen != self._seen or seen is None:
                try:
                    self._users, self._reported = self._read(), None
                except (OSError, Mistake) as error:
                    if str(error) != self._reported:
                        self._reported = str(error)
                        self._report(f"{error}; the users of before may come in")
                self._seen = seen
            return self._users

    def _look(self):
        """What is different when the file is; None where that cannot be told."""
        try:
            found = os.stat(self._path)
        except OSError as error:
            return error.errno
        if time.time_ns() - found.st_mtime_ns < _CLOCK_NS:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _read(self):
        """{name: hash} in octets and text."""
        with open(self._path, "rb") as file:
            octets = file.read(MAX_FILE + 1)
        if len(octets) > MAX_FILE:
            raise Mistake(f"{self._path}: more than {MAX_FILE} octets")
        users = {}
        for number, line in enumerate(octets.splitlines(), 1):
            if not line.strip() or line.lstrip().startswith(b"#"):
                continue
            user, colon, hashed = line.partition(b":")
            mistake = _mistake_in(user, colon, hashed) or (user in users and "the user was there before")
            if mistake:
                raise Mistake(f"{self._path}:{number}: {mistake}")
            users[user] = hashed.strip().decode("ascii")
        return users


def _mistake_in(user, colon, hashed):
    """What is wrong with a line, or None. Says nothing of what is in it."""
    if not colon or not user:
        return "not NAME:HASH"
    if _control(user):
        return "a control character in a name"
    kind = _kind_of(hashed.strip().decode("latin-1"))
    if kind is None:
        return "no hash of bcrypt, Argon2 or SHA-512 crypt that is whole"
    try:
        _hashers()[kind].from_string(hashed.strip().decode("ascii"))
    except ValueError:
        return "a hash that cannot be verified"
    return None


def _kind_of(hashed):
    return next((name for name, fullmatch in _KINDS if fullmatch(hashed)), None)


def _verify(hashed, password):
    """Whether the hash is the password's. No password raises anything."""
    try:
        return bool(_hashers()[_kind_of(hashed)].verify(password, hashed))
    except (ValueError, TypeError):
        # Longer than the method takes, or with NUL.
        return False


def _hashers():
    try:
        from passlib.hash import argon2, bcrypt, sha512_crypt
    except ImportError:
        raise ImportError("files of passwords need libpass: pip install 'turboserver[auth]'") from None
    return {"argon2": argon2, "bcrypt": bcrypt, "sha512_crypt": sha512_crypt}


def _print(text):
    print(f"turboserver: {text}", file=sys.stderr)
