"""The certificate of the file server: whether a given one can be used, when it is replaced, or one that signs itself.

A certificate of our own is made anew at each start. Its key is on the disk for the moment in which OpenSSL reads it, in a
folder that only this user can enter. It proves nothing to those who do not compare its fingerprint; it keeps others
from reading along.

What may not live here: serving; where a certificate comes from otherwise (ACME).
"""

import contextlib
import datetime
import hashlib
import ipaddress
import os
import re
import tempfile
from typing import NamedTuple

from turboserver.deploy import DeployError

try:
    import ssl
except ImportError:
    ssl = None

__all__ = ["Pair", "Replaced", "check", "need_cryptography", "on_disk", "self_signed"]

_DAYS = 30
_host_name = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?").fullmatch


class Pair(NamedTuple):
    """pem: certificate and key, bytes. fingerprint: SHA-256 of the certificate, as browsers show it."""
    pem: bytes
    fingerprint: str


def check(certificate, key):
    """See whether these files (the key is in the certificate's if it is None) can be used. Raises DeployError."""
    if ssl is None:
        raise DeployError("TLS needs the ssl module, which this Python was built without")
    for what, path in (("certificate", certificate), ("key", key)):
        if path is not None:
            try:
                with open(path, "rb") as file:
                    file.read(1)
            except OSError as error:
                raise DeployError(f"cannot read the {what} {path}: {error.strerror}") from None

    def refuse():
        raise DeployError(f"the key {key or certificate} has a password: openssl pkey -in KEY -out PLAIN takes it away")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise DeployError(f"the key {key or certificate} is not the one of the certificate {certificate}") from None
        files = " and ".join(filter(None, (certificate, key)))
        raise DeployError(f"no certificate with its key in {files} (PEM is wanted)") from None


class Replaced:
    """Looks now and then whether the files of a certificate are others, and has them read again.

    Somebody replaces one file after the other: what does not fit together is tried again when it has changed, and once
    more a look later; then it is complained of, once, and what was read before stays in use.
    """

    def __init__(self, paths, read, say):
        """paths: of certificate and key. read: called to read them; raises OSError (SSLError). say: called with one line
        (str) for what became of it."""
        self._paths, self._read, self._say = [path for path in paths if path], read, say
        self._known, self._failed = self._state(), None

    def look(self):
        """Look, and do what is to be done."""
        state = self._state()
        if state == self._known:
            return
        try:
            self._read()
        except OSError as error:
            if state == self._failed:
                self._known = state
                reason = getattr(error, "reason", None) or error.strerror or error
                self._say(f"the certificate was replaced and cannot be used ({reason}): the one before stays")
            self._failed = state
        else:
            self._known, self._failed = state, None
            self._say("the certificate was replaced and has been read again")

    def _state(self):
        return [_state(path) for path in self._paths]


def _state(path):
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def need_cryptography():
    """Raises DeployError if there is no such library."""
    try:
        import cryptography.x509  # noqa: F401
    except ImportError:
        raise DeployError("--tls-self-signed needs cryptography: pip install 'turboserver[tls]'") from None
    if ssl is None:
        raise DeployError("TLS needs the ssl module, which this Python was built without")


def self_signed(names):
    """The Pair for these names: host names and addresses, of which those that no certificate can have are left out.

    Fields: RFC 5280, 4.2.1; with key identifiers, for Python 3.13 and newer want them.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "turboserver")])
    now = datetime.datetime.now(datetime.timezone.utc)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                           "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Other clocks may be late.
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256()))
    encoding = serialization.Encoding
    pem = certificate.public_bytes(encoding.PEM) + key.private_bytes(
        encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    digest = hashlib.sha256(certificate.public_bytes(encoding.DER)).hexdigest().upper()
    return Pair(pem, ":".join(digest[at:at + 2] for at in range(0, len(digest), 2)))


def _general_names(names):
    from cryptography import x509
    found = []
    for name in dict.fromkeys(names):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name.partition("%")[0])))
        except ValueError:
            if _host_name(name):
                found.append(x509.DNSName(name))
    return found


@contextlib.contextmanager
def on_disk(pem):
    """Within, `pem` is a file that only this user can read; gives its path."""
    with tempfile.TemporaryDirectory(prefix="turboserver-") as folder:      # 0700
        path = os.path.join(folder, "pair.pem")
        with open(path, "xb") as file:
            file.write(pem)
        yield path
