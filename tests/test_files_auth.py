"""turboserver.files.auth, passwords and throttle: who may come in, and how often somebody may try."""
import base64
import builtins
import hashlib
import itertools
import os
import threading
import time
from types import SimpleNamespace

import pytest

from turboserver.files import auth, passwords
from turboserver.files.auth import Basic, parse, users_of
from turboserver.files.passwords import File, Mistake, Single
from turboserver.files.throttle import Throttle

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
st = hypothesis.strategies
SETTINGS = hypothesis.settings(max_examples=300, derandomize=True, database=None, deadline=None,
                               suppress_health_check=list(hypothesis.HealthCheck))
CHALLENGE = ("WWW-Authenticate", 'Basic realm="files", charset="UTF-8"')
ADDRESS = "192.0.2.1"


def field(user, password, scheme="Basic"):
    octets = (user if isinstance(user, bytes) else user.encode()) + b":" + (password if isinstance(password, bytes) else password.encode())
    return f"{scheme} {base64.b64encode(octets).decode()}"


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


# ---------------------------------------------------------------- the field (RFC 7617, 2)

@pytest.mark.parametrize("text, expected", [
    ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", (b"Aladdin", b"open sesame")), ("Basic dGVzdDoxMjPCow==", (b"test", "123\u00a3".encode())),
    ("basic YTpi", (b"a", b"b")), ("BASIC   YTpi", (b"a", b"b")), (" Basic YTpi\t", (b"a", b"b")), ("Basic Og==", (b"", b"")),
    (field("a", "b:c:"), (b"a", b"b:c:")), (field("a", ""), (b"a", b"")), (field(b"\xff", b"\xfe"), (b"\xff", b"\xfe"))])
def test_credentials(text, expected):
    assert parse(text) == expected


MALFORMED = [
    None, "", "Basic", "Basic ", "BasicYTpi", "Bearer YTpi", "Digest YTpi", "Basic\tYTpi", "Basic YTpi YTpi", "Basic YTpi,", "Basic YTp",
    "Basic YTpi=", "Basic YTpi====", "Basic =", "Basic Y===", "Basic YQ==", "Basic YTp_", "Basic YTpi\n", "Basic YT pi", "Basic \u0430TpiYTpi",
    "Basic YTp\u0661", "Basic YTpi\0", "Basic " + "YTpi" * 3000, "Basic realm=x", field("a\0b", "c"), field("a", "b\n"), field("a", "b\x7f"),
    "\xff", "Basic \xff\xff\xff\xff"]


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_credentials(text):
    assert parse(text) is None
    found = Basic(Single("a:b")).check(text, ADDRESS)
    assert found == (None, 401, 0.0, (CHALLENGE,))


@SETTINGS
@hypothesis.given(st.one_of(st.text(max_size=30), st.text(max_size=30).map("Basic {}".format),
                            st.binary(max_size=30).map(lambda octets: "Basic " + base64.b64encode(octets).decode())))
def test_no_credentials_are_an_exception(text):
    found = Basic(Single("a:b")).check(text, ADDRESS)
    assert found.status == 401 and found.user is None


@SETTINGS
@hypothesis.given(st.binary(max_size=12), st.binary(max_size=12))
def test_credentials_come_back(user, password):
    wrong = any(octet < 32 or octet == 127 for octet in user + password)
    # The first colon ends the name.
    name, _, rest = (user + b":" + password).partition(b":")
    assert parse(field(user, password)) == (None if wrong else (name, rest))


def test_the_work_for_a_field_is_linear():
    started = time.process_time()
    for hostile in ("Basic" + " " * 10**6, "Basic " + "A" * 8000, "Basic " + "=" * 8000, "Basic " + "YTpi" * 2000 + "!", " " * 8000):
        parse(hostile)
    assert time.process_time() - started < 1


# ---------------------------------------------------------------- one user

def test_one_user():
    basic = Basic(users_of("anna:se:cret\u00e9"))
    assert basic.check(field("anna", "se:cret\u00e9"), ADDRESS) == ("anna", 200, 0.0, ())
    for user, password in (("anna", "secret"), ("anna", ""), ("Anna", "se:cret\u00e9"), ("", "se:cret\u00e9"), ("anna:se", "cret\u00e9")):
        assert (basic.check(field(user, password), user + "@192.0.2.2").user == "anna") is ((user, password) == ("anna:se", "cret\u00e9"))


@pytest.mark.parametrize("text", ["", "anna", ":", "anna:", ":secret", "an\0na:x", "anna:x\n"])
def test_users_that_are_none(text):
    with pytest.raises(Mistake) as caught:
        users_of(text)
    assert text not in str(caught.value) or not text.strip(":") or text == "anna"


@pytest.mark.parametrize("realm, sent", [("files", "files"), ('a "b" \\', 'a \\"b\\" \\\\'), ("", "")])
def test_realms(realm, sent):
    assert Basic(Single("a:b"), realm).challenge == ("WWW-Authenticate", f'Basic realm="{sent}", charset="UTF-8"')


@pytest.mark.parametrize("realm", ["a\nb", "a\r\nX: y", "\u00e9", "\0", "\x7f"])
def test_realms_that_cannot_be_sent(realm):
    with pytest.raises(ValueError):
        Basic(Single("a:b"), realm)


# ---------------------------------------------------------------- a file

passlib_hash = pytest.importorskip("passlib.hash", reason="turboserver[auth] is not installed")
CHEAP = {"bcrypt": passlib_hash.bcrypt.using(rounds=4), "argon2": passlib_hash.argon2.using(time_cost=1, memory_cost=64, parallelism=1),
         "sha512_crypt": passlib_hash.sha512_crypt.using(rounds=1000)}


def lines(**users):
    return "".join(f"{user}:{CHEAP[kind].hash(password)}\n" for user, (kind, password) in users.items())


@pytest.fixture
def file(tmp_path):
    """Writes the file of passwords, each time as one that changed long ago, and gives its path."""
    path, times = tmp_path / "passwords", iter(range(1000, 10**9, 1000))

    def write(text):
        path.write_text(text)
        at = next(times)
        os.utime(path, (at, at))
        return str(path)
    return write


def test_each_kind_of_hash(file):
    users = {kind: (kind, "se cret\u00e9") for kind in CHEAP}
    found = File(file("# users\n\n  # more\n" + lines(**users)))
    for kind in CHEAP:
        assert found.verify(kind.encode(), "se cret\u00e9".encode())
        assert not found.verify(kind.encode(), b"secret") and not found.verify(kind.encode(), b"") and not found.verify(kind.upper().encode(), b"x")
    assert not found.verify(b"", b"") and not found.verify(b"# users", b"")


def test_hashes_of_other_programs(file, tmp_path):
    """htpasswd writes $2y$, openssl $6$ without rounds."""
    bcrypt = CHEAP["bcrypt"].hash("secret").replace("$2b$", "$2y$")
    sha512 = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
    found = File(file(f"a:{bcrypt}\nb:{sha512}\r\n"))
    assert found.verify(b"a", b"secret") and not found.verify(b"a", b"Hello world!")
    assert found.verify(b"b", b"Hello world!") and not found.verify(b"b", b"secret")


def test_passwords_of_every_length(file):
    """bcrypt takes 72 octets; none is an exception, and a longer one is no shorter one's equal where it counts."""
    found = File(file(lines(a=("bcrypt", "x" * 72), b=("argon2", "x" * 72), c=("sha512_crypt", "x" * 72))))
    for length in (0, 1, 71, 72, 73, 500, 4096, 4097, 6000):
        for user in (b"a", b"b", b"c"):
            if user != b"a" or length <= 72:
                assert found.verify(user, b"x" * length) is (length == 72)
            else:
                found.verify(user, b"x" * length)
    assert not found.verify(b"a", b"x" * 71 + b"\0")


GOOD = "a:" + CHEAP["bcrypt"].hash("x")


@pytest.mark.parametrize("line, what", [
    ("b", "not NAME:HASH"), (":x", "not NAME:HASH"), ("b:", "no hash"), ("b:plain", "no hash"), ("b:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "no hash"),
    ("b:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", "no hash"), ("b:$1$abcdefgh$G.vEfgh", "no hash"), ("b:$5$salt$x", "no hash"), ("b:rqXexS6ZhobKA", "no hash"),
    ("b:" + GOOD[2:-1], "no hash"), ("b:" + GOOD[2:] + "x", "no hash"), ("b:$2b$99$" + GOOD[9:], "cannot be verified"), ("a:" + GOOD[2:], "before"),
    ("b\x01:" + GOOD[2:], "control"), ("b:" + GOOD[2:] + ":more", "no hash"), ("b:$6$rounds=1$salt$" + "a" * 86, "cannot be verified")], ids=map(str, itertools.count()))     # hashes are others each time
def test_mistakes_name_the_line(file, line, what):
    path = file(f"# a comment\n{GOOD}\n{line}\n{GOOD.replace('a:', 'c:')}\n")
    with pytest.raises(Mistake, match=what) as caught:
        File(path)
    assert str(caught.value).startswith(f"{path}:3: ") and "\n" not in str(caught.value) and "$" not in str(caught.value)


def test_files_that_are_none(tmp_path, file, monkeypatch):
    with pytest.raises(OSError):
        users_of(f"@{tmp_path}/none")
    with pytest.raises(OSError):
        File(tmp_path)
    monkeypatch.setattr(passwords, "MAX_FILE", 10)
    with pytest.raises(Mistake, match="octets"):
        File(file(GOOD))


def test_an_empty_file_lets_nobody_in(file):
    assert not users_of("@" + file("# nobody\n")).verify(b"a", b"x")


def test_without_the_library(file, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **options):
        if name.startswith("passlib"):
            raise ImportError("no")
        return real(name, *args, **options)
    path = file(GOOD)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"turboserver\[auth\]"):
        File(path)
    assert Single("a:b").verify(b"a", b"b")


def test_a_file_that_changes(file):
    reports = []
    path = file(lines(a=("bcrypt", "1")))
    found = File(path, reports.append)
    assert found.verify(b"a", b"1")
    file(lines(a=("bcrypt", "2"), b=("bcrypt", "1")))
    assert not found.verify(b"a", b"1") and found.verify(b"a", b"2") and found.verify(b"b", b"1")
    file(lines(b=("bcrypt", "1")))
    assert not found.verify(b"a", b"2") and found.verify(b"b", b"1") and reports == []


def test_a_file_that_is_broken_meanwhile(file):
    reports = []
    path = file(lines(a=("bcrypt", "1")))
    found = File(path, reports.append)
    file("nonsense\n")
    for _ in range(3):
        assert found.verify(b"a", b"1") and not found.verify(b"b", b"1")
    assert reports == [f"{path}:1: not NAME:HASH; the users of before may come in"]
    os.unlink(path)
    for _ in range(3):
        assert found.verify(b"a", b"1")
    assert len(reports) == 2 and "No such file" in reports[1]
    file("nonsense\n")
    assert found.verify(b"a", b"1") and len(reports) == 3
    file(lines(b=("bcrypt", "1")))
    assert found.verify(b"b", b"1") and not found.verify(b"a", b"1") and len(reports) == 3


def test_a_file_that_changes_twice_at_once(file, monkeypatch):
    """By a clock that does not tell: what is that new is read again each time, and a mistake is still told once."""
    now, real, reports = time.time_ns(), os.stat, []

    def coarse(asked, **options):
        found = real(asked, **options)
        return found if asked != path else SimpleNamespace(
            st_dev=found.st_dev, st_ino=found.st_ino, st_size=found.st_size, st_mtime_ns=now, st_ctime_ns=now)
    path = file(lines(a=("bcrypt", "1")))
    monkeypatch.setattr(passwords.os, "stat", coarse)
    found = File(path, reports.append)
    assert found.verify(b"a", b"1")
    new = lines(a=("bcrypt", "2"))
    file(new)
    assert found.verify(b"a", b"2") and not found.verify(b"a", b"1")
    file("?" * len(new))
    for _ in range(3):
        assert found.verify(b"a", b"2")
    assert len(reports) == 1


def test_a_report_goes_to_the_standard_error(file, capsys):
    path = file(GOOD)
    found = File(path)
    file("nonsense")
    found.verify(b"a", b"x")
    assert capsys.readouterr().err == f"turboserver: {path}:1: not NAME:HASH; the users of before may come in\n"


def test_a_user_that_is_not_there_takes_the_same_work(file, monkeypatch):
    """A hash is verified for each, of the kinds that there are, and always the same one for one name."""
    found = File(file(lines(a=("bcrypt", "1"), b=("argon2", "1"), c=("sha512_crypt", "1"))))
    verified = []
    real = passwords._verify
    monkeypatch.setattr(passwords, "_verify", lambda hashed, password: verified.append(hashed) or real(hashed, password))
    for user in (b"a", b"b", b"nobody", b"", b"x" * 1000):
        assert not found.verify(user, b"wrong")
    assert len(verified) == 5
    verified.clear()
    for number in range(60):
        # Not even with a password that is somebody's.
        assert not found.verify(b"%d" % (number % 30), b"1")
    assert verified[:30] == verified[30:] and len(set(verified)) == 3


# ---------------------------------------------------------------- what is remembered

class Slow:
    """Users in memory whose every verification is counted."""
    slow = True

    def __init__(self, **users):
        self.users, self.asked = {user.encode(): password for user, password in users.items()}, []

    def verify(self, user, password):
        self.asked.append((user, password))
        return self.users.get(user) == password.decode()

    def secret_of(self, user):
        return self.users.get(user) and hashlib.sha1(self.users[user].encode()).hexdigest()


def test_what_was_right_is_verified_once():
    clock, users = Clock(), Slow(a="1", b="2")
    basic = Basic(users, remember=100, clock=clock)
    for _ in range(5):
        assert basic.check(field("a", "1"), ADDRESS).user == "a"
    assert len(users.asked) == 1
    for user, password in (("a", "2"), ("b", "1"), ("a", ""), ("c", "1")):
        for number in range(2):
            assert basic.check(field(user, password), f"192.0.2.{number + 10}").user is None
    assert len(users.asked) == 9            # what was wrong is not remembered
    clock.now += 99
    assert basic.check(field("a", "1"), ADDRESS).user == "a" and len(users.asked) == 9
    clock.now += 1
    assert basic.check(field("a", "1"), ADDRESS).user == "a" and len(users.asked) == 10


def test_a_new_password_ends_the_old_one():
    users = Slow(a="1")
    basic = Basic(users)
    assert basic.check(field("a", "1"), ADDRESS).user == "a"
    users.users[b"a"] = "2"
    assert basic.check(field("a", "1"), ADDRESS).user is None
    assert basic.check(field("a", "2"), ADDRESS).user == "a"
    del users.users[b"a"]
    assert basic.check(field("a", "2"), ADDRESS).user is None


def test_a_password_that_changes_while_it_is_verified():
    """It is not remembered for the hash that was there before."""
    class Changing(Slow):
        def verify(self, user, password):
            self.users[b"a"] = "2"
            return super().verify(user, password)
    users = Changing(a="1")
    basic = Basic(users)
    assert basic.check(field("a", "2"), ADDRESS).user == "a"
    users.users[b"a"] = "1"
    users.verify = lambda user, password: Slow.verify(users, user, password)
    assert basic.check(field("a", "2"), ADDRESS).user is None
    assert basic.check(field("a", "1"), ADDRESS).user == "a"


def test_memory_has_a_bound_and_no_password():
    users = Slow(**{f"u{number}": "secret" for number in range(50)})
    basic = Basic(users, max_remembered=10)
    for number in range(50):
        assert basic.check(field(f"u{number}", "secret"), ADDRESS).user
    assert len(basic._remembered) == 10
    assert basic.check(field("u49", "secret"), ADDRESS).user and len(users.asked) == 50
    assert basic.check(field("u0", "secret"), ADDRESS).user and len(users.asked) == 51
    for digest in basic._remembered._until:
        assert b"secret" not in digest and digest != hashlib.blake2b(b"u49\0secret").digest()
    assert Basic(users)._remembered._key != basic._remembered._key


def test_parts_cannot_be_moved_between_name_and_password():
    remembered = auth._Remembered(100, 10, Clock())
    remembered.add(b"ab", b"c", "d")
    assert remembered.has(b"ab", b"c", "d")
    for parts in ((b"a", b"bc", "d"), (b"ab", b"", "cd"), (b"ab", b"cd", "")):
        assert not remembered.has(*parts)


def test_a_file_as_a_whole(file):
    path = file(lines(anna=("bcrypt", "1")))
    basic = Basic(users_of("@" + path))
    for _ in range(3):
        assert basic.check(field("anna", "1"), ADDRESS).user == "anna"
    assert basic.check(field("anna", "2"), ADDRESS) == basic.check(field("otto", "1"), ADDRESS) == (None, 401, 0.0, (CHALLENGE,))


# ---------------------------------------------------------------- guessing

def test_who_guesses_is_not_looked_at():
    clock, users = Clock(), Slow(a="1")
    basic = Basic(users, throttle=Throttle(free=3, first_delay=1.5, clock=clock), clock=clock)
    assert basic.check(field("a", "1"), ADDRESS).user == "a"
    answers = [basic.check(field("a", "0"), ADDRESS) for _ in range(5)]
    assert [(found.status, found.delay) for found in answers] == [(401, 0), (401, 0), (401, 0), (401, 1.5), (429, 1.5)]
    assert answers[3].headers == (CHALLENGE,) and answers[4].headers == (("Retry-After", "2"),)
    asked = len(users.asked)
    # Not even what is right and remembered: that would tell.
    assert basic.check(field("a", "1"), ADDRESS).status == 429 and len(users.asked) == asked
    assert basic.check(field("a", "1"), "192.0.2.99").user == "a"
    # Who sends nothing, or nonsense, does not guess, and is told what is wanted.
    for text in MALFORMED:
        assert basic.check(text, ADDRESS).status == 401
    clock.now += 1.5
    assert basic.check(field("a", "1"), ADDRESS).user == "a"


def test_an_exception_leaves_nothing_pending():
    class Broken(Slow):
        def verify(self, user, password):
            raise ZeroDivisionError
    guesses = Throttle(free=0, first_delay=1, clock=Clock())
    with pytest.raises(ZeroDivisionError):
        Basic(Broken(a="1"), throttle=guesses).check(field("a", "1"), ADDRESS)
    assert guesses._entries[ADDRESS][2] == 0


def test_many_threads():
    users = Slow(a="1")
    basic = Basic(users, throttle=Throttle(free=5, max_pending=1000))
    outcomes, barrier = [], threading.Barrier(8)

    def run(number):
        barrier.wait(20)
        for turn in range(200):
            right = number % 2 == 0
            found = basic.check(field("a", "1" if right else "0"), f"192.0.2.{number}")
            outcomes.append((right, found.user))
    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(outcomes) == {(True, "a"), (False, None)} and len(outcomes) == 1600
    assert users.asked.count((b"a", b"0")) == 4 * 6
