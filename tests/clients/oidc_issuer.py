"""An issuer of OpenID Connect for tests: it makes keys and tokens, and tells its keys over HTTP or HTTPS."""
import base64
import datetime
import hashlib
import http.server
import ipaddress
import json
import os
import ssl
import tempfile
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(n, size=None):
    return b64(n.to_bytes(size or (n.bit_length() + 7) // 8, "big"))


class Key:
    def __init__(self, kid, kind):
        self.kid, self.kind = kid, kind
        self.private = rsa.generate_private_key(65537, 2048) if kind == "RS256" else ec.generate_private_key(ec.SECP256R1())

    def jwk(self):
        n = self.private.public_key().public_numbers()
        if self.kind == "RS256":
            return {"kty": "RSA", "kid": self.kid, "use": "sig", "alg": "RS256", "n": number(n.n), "e": number(n.e)}
        return {"kty": "EC", "kid": self.kid, "crv": "P-256", "x": number(n.x, 32), "y": number(n.y, 32)}

    def sign(self, text):
        if self.kind == "RS256":
            return self.private.sign(text, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(self.private.sign(text, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class Issuer:
    """`secure`: over HTTPS, with a certificate that nobody else vouches for."""

    def __init__(self, secure=False):
        self.keys = [Key("rsa-1", "RS256"), Key("ec-1", "ES256")]
        self.asked = 0
        self.broken = False
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.asked += 1
                body = {"/.well-known/openid-configuration": {"issuer": issuer.url, "jwks_uri": issuer.url + "/keys"},
                        "/keys": {"keys": [k.jwk() for k in issuer.keys]}}.get(self.path)
                if body is None or issuer.broken:
                    return self.send_error(404)
                raw = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thumbprint = None
        if secure:
            pem, self.thumbprint = self.certificate()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            os.unlink(pem)
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.name = "127.0.0.1:%d" % self.http.server_address[1]
        self.url = ("https://" if secure else "http://") + self.name
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    @staticmethod
    def certificate():
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
        now = datetime.datetime.utcnow()
        cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
                .not_valid_after(now + datetime.timedelta(days=1))
                .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
                .sign(key, hashes.SHA256()))
        der = cert.public_bytes(serialization.Encoding.DER)
        with tempfile.NamedTemporaryFile(delete=False) as f:
            f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
            f.write(cert.public_bytes(serialization.Encoding.PEM))
        return f.name, hashlib.sha1(der).hexdigest()

    def claims(self, **changed):
        now = int(time.time())
        claims = {"iss": self.url, "sub": "runner-1", "aud": "cairn", "iat": now, "exp": now + 600}
        claims.update(changed)
        return {k: v for k, v in claims.items() if v is not None}

    def token(self, key=0, head=None, by=None, **claims):
        key = by or self.keys[key]
        head = {"typ": "JWT", "alg": key.kind, "kid": key.kid, **(head or {})}
        parts = [b64(json.dumps({k: v for k, v in head.items() if v is not None}).encode()), b64(json.dumps(self.claims(**claims)).encode())]
        return ".".join(parts + [b64(key.sign(".".join(parts).encode()))])
