# SPDX-License-Identifier: Apache-2.0
"""A key of an issuer, which openssl makes, and the tokens that it signs. For tests/system as well."""

import base64
import hashlib
import hmac
import json
import subprocess
import time


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode()


class Key:
    def __init__(self, directory, kid):
        self.kid, self.path = kid, directory / f'{kid}.pem'
        subprocess.run(['openssl', 'genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', self.path], check=True,
                       capture_output=True)
        modulus = subprocess.run(['openssl', 'rsa', '-in', self.path, '-noout', '-modulus'], check=True, capture_output=True, text=True)
        self.n = bytes.fromhex(modulus.stdout.strip().removeprefix('Modulus='))

    def public(self):
        return {'kty': 'RSA', 'use': 'sig', 'kid': self.kid, 'n': encode(self.n), 'e': 'AQAB'}

    def token(self, sub='carol', header=None, **claims):
        head = {'alg': 'RS256', 'kid': self.kid, 'typ': 'JWT', **(header or {})}
        body = {'iss': 'hero_auth', 'aud': 'hero-compute', 'sub': sub, 'exp': int(time.time()) + 300, **claims}
        text = f'{encode(json.dumps(head).encode())}.{encode(json.dumps(body).encode())}'
        return f'{text}.{encode(self.sign(text.encode(), head["alg"]))}'

    def sign(self, text, algorithm):
        if algorithm == 'HS256':
            return hmac.digest(json.dumps(self.public()).encode(), text, hashlib.sha256)
        if algorithm == 'none':
            return b''
        return subprocess.run(['openssl', 'dgst', '-sha256', '-sign', self.path], input=text, check=True, capture_output=True).stdout
