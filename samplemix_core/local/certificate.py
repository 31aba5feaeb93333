"""The stack's certificate: only processes that hold its key may speak to Dask and to the inner parts of S3."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from samplemix_core.local.home import Home, write_private
from samplemix_core.local.ports import HOST

# It is trusted only in its own home, and is valid as long as that.
_DAYS = 36_500


def stack_certificate(home: Home) -> Path:
    """Return the file, of mode 0600, of a key and its self-signed certificate: both sides show it, and trust it alone.

    Created if there is none yet.
    """
    path = home.certificate_file
    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "samplemix")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            # Clocks may be set back.
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_private(path, (private + certificate.public_bytes(Encoding.PEM)).decode())
    return path
