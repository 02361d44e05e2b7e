#!/usr/bin/python3
"""mgmt/noise.c and mgmt/crypto/ against implementations of others: the Noise handshake and session
against dissononce, the primitives against python3-cryptography and hashlib on random input.

usage: noise_peer.py LIBRARY    (build/noise-peer.so, the sources as they are)
Prints "ok NAME" or "FAIL NAME" for each test.
"""
import ctypes
import hashlib
import hmac
import os
import random
import sys
import traceback

from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from dissononce.cipher.chachapoly import ChaChaPolyCipher
from dissononce.dh.x25519.public import PublicKey
from dissononce.dh.x25519.x25519 import PrivateKey, X25519DH
from dissononce.hash.blake2s import Blake2sHash
from dissononce.processing.handshakepatterns.interactive.IK import IKHandshakePattern
from dissononce.processing.impl.cipherstate import CipherState
from dissononce.processing.impl.handshakestate import HandshakeState
from dissononce.processing.impl.symmetricstate import SymmetricState

lib = ctypes.CDLL(sys.argv[1])
PROLOGUE = b"creel-management 1"
ROUNDS = 200
TAG, FIRST, SECOND, REKEY = 16, 96, 48, 1024
KNOWN = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint8))


def size(n):
    return ctypes.c_size_t(n)


def out(n):
    return ctypes.create_string_buffer(max(n, 1))


class Cipher(ctypes.Structure):
    _fields_ = [("k", ctypes.c_uint8 * 32), ("n", ctypes.c_uint64)]


class Session(ctypes.Structure):
    _fields_ = [("send", Cipher), ("receive", Cipher)]

    def seal(self, text):
        sealed = out(len(text) + TAG)
        assert lib.noise_seal(ctypes.byref(self.send), sealed, text, size(len(text))) == 0
        return sealed.raw

    def open(self, sealed):
        text = out(len(sealed) - TAG)
        assert lib.noise_open(ctypes.byref(self.receive), text, sealed, size(len(sealed))) == 0
        return text.raw[:len(sealed) - TAG]


class Handshake(ctypes.Structure):
    _fields_ = [("opaque", ctypes.c_uint64 * 64)]


class Keys(ctypes.Structure):
    _fields_ = [("private", ctypes.c_uint8 * 32), ("public", ctypes.c_uint8 * 32)]

    def __init__(self, private):
        super().__init__()
        lib.noise_keys_from(ctypes.byref(self), private)


# ---- primitives on random input -------------------------------------------------------------------

def test_x25519():
    for _ in range(ROUNDS):
        private, point, got = os.urandom(32), os.urandom(32), out(32)
        key = x25519.X25519PrivateKey.from_private_bytes(private)
        assert lib.x25519(got, private, point) == 0
        assert got.raw == key.exchange(x25519.X25519PublicKey.from_public_bytes(point))
        lib.x25519_public(got, private)
        assert got.raw == key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def test_x25519_near_the_modulus():
    p = 2**255 - 19
    for i in range(-40, 60):
        point = ((p + i) % 2**256).to_bytes(32, "little")
        private, got = os.urandom(32), out(32)
        key = x25519.X25519PrivateKey.from_private_bytes(private)
        status = lib.x25519(got, private, point)
        try:
            want = key.exchange(x25519.X25519PublicKey.from_public_bytes(point))
        except ValueError:  # all zero
            assert status < 0 and got.raw == bytes(32)
        else:
            assert status == 0 and got.raw == want


def test_aead():
    for n in range(4 * ROUNDS):
        key, nonce = os.urandom(32), os.urandom(12)
        # runs of ones and zeros reach the carries of Poly1305
        text = random.choice([os.urandom, lambda n: b"\xff" * n, bytes])(n if n < 300 else 1 << n % 15)
        ad = os.urandom(n % 40)
        sealed = out(len(text) + TAG)
        lib.aead_seal(sealed, key, nonce, ad, size(len(ad)), text, size(len(text)))
        assert sealed.raw == ChaCha20Poly1305(key).encrypt(nonce, text, ad)
        opened = out(len(text))
        assert lib.aead_open(opened, key, nonce, ad, size(len(ad)), sealed, size(len(sealed))) == 0
        assert opened.raw[:len(text)] == text


def test_blake2s():
    state = out(256)
    for n in range(2 * ROUNDS):
        text, key, digest = os.urandom(n), os.urandom(n % 33), n % 32 + 1
        got = out(digest)
        lib.blake2s_init(state, size(digest), key, size(len(key)))
        lib.blake2s_update(state, text, size(n))
        lib.blake2s_final(state, got)
        assert got.raw == hashlib.blake2s(text, digest_size=digest, key=key).digest()


def test_hmac_and_hkdf():
    state, got, second = out(512), out(32), out(32)

    def mac(key, text):
        return hmac.new(key, text, hashlib.blake2s).digest()

    for n in range(ROUNDS):
        key, text = os.urandom(32), os.urandom(n)
        lib.hmac_blake2s_init(state, key)
        lib.hmac_blake2s_update(state, text, size(n))
        lib.hmac_blake2s_final(state, got)
        assert got.raw == mac(key, text)
        text = os.urandom(32 * (n % 2))
        lib.hkdf(got, second, key, text, size(len(text)))
        first = mac(mac(key, text), b"\1")
        assert got.raw == first
        assert second.raw == mac(mac(key, text), first + b"\2")


# ---- the handshake and the session ----------------------------------------------------------------

def other():
    return HandshakeState(SymmetricState(CipherState(ChaChaPolyCipher()), Blake2sHash()), X25519DH())


def key_pair(private):
    return X25519DH().generate_keypair(PrivateKey(private))


def rekey(cipher):
    """Section 4.2; dissononce's own keeps the tag in the key, which no cipher takes then."""
    nonce = cipher._nonce
    sealed = cipher.cipher.encrypt(cipher._key, 2**64 - 1, b"", bytes(32))
    cipher.initialize_key(bytes(sealed[:32]))
    cipher.set_nonce(nonce)


def converse(ours, send, receive):
    """Messages both ways, more than one key serves: the other side is told when to rekey."""
    for n in range(1, 2 * REKEY + 10):
        text = os.urandom(n % 70)
        assert receive.decrypt_with_ad(b"", ours.seal(text)) == text
        assert ours.open(bytes(send.encrypt_with_ad(b"", text))) == text
        if n % REKEY == 0:
            rekey(send)
            rekey(receive)
    text = os.urandom(16384 - TAG)
    assert receive.decrypt_with_ad(b"", ours.seal(text)) == text


def test_dissononce_as_client():
    for payloads in ((b"", b""), (b"hello", b"well met"), (os.urandom(900), os.urandom(901))):
        host, client_pair = Keys(os.urandom(32)), key_pair(os.urandom(32))
        client, hs, session = other(), Handshake(), Session()
        client.initialize(IKHandshakePattern(), True, PROLOGUE, s=client_pair,
                          rs=PublicKey(bytes(host.public)))
        message = bytearray()
        client.write_message(payloads[0], message)
        seen, payload = [], out(len(payloads[0]))

        def known(_, key):
            seen.append(bytes(key[:32]))
            return True

        lib.noise_responder(ctypes.byref(hs), ctypes.byref(host), PROLOGUE, size(len(PROLOGUE)))
        assert lib.noise_read_first(ctypes.byref(hs), bytes(message), size(len(message)), payload,
                                    KNOWN(known), None) == 0
        assert payload.raw[:len(payloads[0])] == payloads[0]
        assert seen == [bytes(client_pair.public.data)]
        answer, got = out(SECOND + len(payloads[1])), bytearray()
        assert lib.noise_write_second(ctypes.byref(hs), os.urandom(32), payloads[1],
                                      size(len(payloads[1])), answer) == 0
        send, receive = client.read_message(answer.raw, got)
        assert got == payloads[1]
        lib.noise_split(ctypes.byref(hs), False, ctypes.byref(session))
        converse(session, send, receive)


def test_dissononce_as_host():
    for payloads in ((b"", b""), (b"hello", b"well met"), (os.urandom(900), os.urandom(901))):
        host_pair, client = key_pair(os.urandom(32)), Keys(os.urandom(32))
        host, hs, session = other(), Handshake(), Session()
        host.initialize(IKHandshakePattern(), False, PROLOGUE, s=host_pair)
        lib.noise_initiator(ctypes.byref(hs), ctypes.byref(client), bytes(host_pair.public.data),
                            PROLOGUE, size(len(PROLOGUE)))
        message, got = out(FIRST + len(payloads[0])), bytearray()
        assert lib.noise_write_first(ctypes.byref(hs), os.urandom(32), payloads[0],
                                     size(len(payloads[0])), message) == 0
        host.read_message(message.raw, got)
        assert got == payloads[0]
        answer = bytearray()
        receive, send = host.write_message(payloads[1], answer)
        payload = out(len(payloads[1]))
        assert lib.noise_read_second(ctypes.byref(hs), bytes(answer), size(len(answer)), payload) == 0
        assert payload.raw[:len(payloads[1])] == payloads[1]
        lib.noise_split(ctypes.byref(hs), True, ctypes.byref(session))
        converse(session, send, receive)


def main():
    failed = False
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        try:
            test()
            print(f"ok noise_peer_{name[5:]}", flush=True)
        except Exception:
            failed = True
            traceback.print_exc()
            print(f"FAIL noise_peer_{name[5:]}", flush=True)
    sys.exit(failed)


main()
