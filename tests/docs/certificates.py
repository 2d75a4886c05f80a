"""Certificates for the programs of the documents, made when a test wants them.

What may not live here: anything that is served.
"""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_DAY = datetime.timedelta(days=1)


def _signed(subject, public, issuer, key, extensions):
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
               .serial_number(x509.random_serial_number()).not_valid_before(now - _DAY).not_valid_after(now + _DAY))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256())


def _name(text):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _key():
    return ec.generate_private_key(ec.SECP256R1())


def authority(path):
    """(certificate, key) of an authority, whose certificate is at `path` then."""
    key = _key()
    usage = x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
                          key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
                          decipher_only=False)
    made = _signed(_name(path.name), key.public_key(), _name(path.name), key,
                   [(x509.BasicConstraints(True, None), True), (usage, True),
                    (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)])
    path.write_bytes(_pem(made))
    return made, key


def certificate(issuer, name):
    """(certificate, key) for a name, and for 127.0.0.1, signed by an authority."""
    made, issuer_key = issuer
    key = _key()
    names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    return _signed(_name(name), key.public_key(), made.subject, issuer_key,
                   [(names, False), (x509.BasicConstraints(False, None), True),
                    (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)]), key


def _pem(made):
    return made.public_bytes(serialization.Encoding.PEM)


def write_pair(folder, name, pair):
    """NAME.pem and NAME.key in a folder."""
    made, key = pair
    (folder / f"{name}.pem").write_bytes(_pem(made))
    (folder / f"{name}.key").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
