#!/usr/bin/python3
"""A client of the sealed protocol that has none of our code: dissononce's Noise over a socket.

usage: sealed_client.py PORT HOST_KEY PRIVATE_KEY    (keys in hexadecimal)
Says hello and prints the type of the host's answer, or "closed".
"""
import socket
import struct
import sys

from dissononce.cipher.chachapoly import ChaChaPolyCipher
from dissononce.dh.x25519.public import PublicKey
from dissononce.dh.x25519.x25519 import PrivateKey, X25519DH
from dissononce.hash.blake2s import Blake2sHash
from dissononce.processing.handshakepatterns.interactive.IK import IKHandshakePattern
from dissononce.processing.impl.cipherstate import CipherState
from dissononce.processing.impl.handshakestate import HandshakeState
from dissononce.processing.impl.symmetricstate import SymmetricState

# mgmt/proto.h: header; magic, lowest and highest version, capabilities, name of the client
HELLO = struct.pack("<IHHQ", 42, 0x10, 0, 0) + struct.pack("<8sHHQH4s", b"Ccreel\r\n", 1, 1, 0, 4, b"test")


def send(sock, message):
    sock.sendall(struct.pack("<H", len(message)) + bytes(message))


def exactly(sock, n):
    data = b""
    while len(data) < n:
        more = sock.recv(n - len(data))
        if not more:
            raise ConnectionError("closed")
        data += more
    return data


def receive(sock):
    return exactly(sock, struct.unpack("<H", exactly(sock, 2))[0])


def main(port, host_key, private_key):
    noise = HandshakeState(SymmetricState(CipherState(ChaChaPolyCipher()), Blake2sHash()), X25519DH())
    noise.initialize(IKHandshakePattern(), True, b"creel-management 1",
                     s=X25519DH().generate_keypair(PrivateKey(private_key)), rs=PublicKey(host_key))
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        first = bytearray()
        noise.write_message(b"", first)
        send(sock, first)
        seal, unseal = noise.read_message(receive(sock), bytearray())
        send(sock, seal.encrypt_with_ad(b"", b""))
        send(sock, seal.encrypt_with_ad(b"", HELLO))
        answer = unseal.decrypt_with_ad(b"", receive(sock))
        print(hex(struct.unpack_from("<H", answer, 4)[0]))


try:
    main(int(sys.argv[1]), bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3]))
except ConnectionError:
    print("closed")
