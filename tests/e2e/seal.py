"""The client's end of a sealed channel (docs/protocol.md), on the primitives of python3-cryptography.

Names are those of The Noise Protocol Framework; dissononce, which noise_peer.py holds ours against,
would do the same, but needs a second for a thousand messages.
"""
import copy
import hashlib
import hmac
import os
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NAME = b"Noise_IK_25519_ChaChaPoly_BLAKE2s"
PROLOGUE = b"creel-management 1"
TAG, MESSAGE_MAX, REKEY = 16, 16384, 1024
LAST = 2**64 - 1


def blake2s(*parts):
    return hashlib.blake2s(b"".join(parts)).digest()


def hkdf(key, material):
    temp = hmac.digest(key, material, "blake2s")
    first = hmac.digest(temp, b"\1", "blake2s")
    return first, hmac.digest(temp, first + b"\2", "blake2s")


def public(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def nonce(n):
    return struct.pack("<IQ", 0, n)


class Cipher:
    def __init__(self, key):
        self.key, self.n = key, 0

    def _counted(self):
        self.n += 1
        if self.n % REKEY == 0:
            self.key = ChaCha20Poly1305(self.key).encrypt(nonce(LAST), bytes(32), b"")[:32]

    def seal(self, text):
        sealed = ChaCha20Poly1305(self.key).encrypt(nonce(self.n), text, b"")
        self._counted()
        return sealed

    def open(self, sealed):
        text = ChaCha20Poly1305(self.key).decrypt(nonce(self.n), sealed, b"")
        self._counted()
        return text


class Handshake:
    """The initiator's side of IK, with empty payloads."""

    def __init__(self, private, host, prologue=PROLOGUE):
        self.s = X25519PrivateKey.from_private_bytes(private)
        self.e = X25519PrivateKey.generate()
        self.host = host
        self.ck = blake2s(NAME)
        self.h = blake2s(blake2s(self.ck, prologue), host)

    def _dh(self, ours, theirs):
        self.ck, key = hkdf(self.ck, ours.exchange(X25519PublicKey.from_public_bytes(theirs)))
        return ChaCha20Poly1305(key)

    def _seal(self, cipher, text):
        sealed = cipher.encrypt(nonce(0), text, self.h)
        self.h = blake2s(self.h, sealed)
        return sealed

    def first(self):
        e = public(self.e)
        self.h = blake2s(self.h, e)
        s = self._seal(self._dh(self.e, self.host), public(self.s))
        return e + s + self._seal(self._dh(self.s, self.host), b"")

    def second(self, message):
        """The two ciphers, ours to send first."""
        re, tag = message[:32], message[32:]
        self.h = blake2s(self.h, re)
        self._dh(self.e, re)
        self._dh(self.s, re).decrypt(nonce(0), tag, self.h)
        return tuple(Cipher(k) for k in hkdf(self.ck, b""))


def framed(message):
    return struct.pack("<H", len(message)) + message


class Opening:
    """A first message, as `data`, that may be sent on several connections."""

    def __init__(self, private, host):
        self.handshake = Handshake(private, host)
        self.data = framed(self.handshake.first())


class Seal:
    """A sealed channel over a connected socket, on which the first message was sent."""

    def __init__(self, socket, opening):
        self.socket, self.rest = socket, b""
        handshake = copy.copy(opening.handshake)
        answer = self._message()
        if answer is None:
            raise ConnectionError("the host closed in the handshake")
        self.sender, self.receiver = handshake.second(answer)
        socket.sendall(framed(self.sender.seal(b"")))

    def _message(self):
        """The next message, None at the end."""
        while len(self.rest) < 2 or len(self.rest) < 2 + struct.unpack_from("<H", self.rest)[0]:
            got = self.socket.recv(65536)
            if not got:
                return None
            self.rest += got
        size = struct.unpack_from("<H", self.rest)[0]
        message, self.rest = self.rest[2:2 + size], self.rest[2 + size:]
        return message

    def sealed(self, data):
        """The bytes of the connection that carry these."""
        step = MESSAGE_MAX - TAG
        return b"".join(framed(self.sender.seal(data[at:at + step])) for at in range(0, len(data), step))

    def send(self, data):
        self.socket.sendall(self.sealed(data))

    def receive(self):
        """Some bytes, b"" at the end."""
        message = self._message()
        return b"" if message is None else self.receiver.open(message) or self.receive()
