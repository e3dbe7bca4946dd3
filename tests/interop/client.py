#!/usr/bin/python3
"""A client of the sealed wire, version 1, written from WIRE.md alone.

It shares no code with the host, so the two can only agree by both following the document.
It needs four Debian packages: python3-nacl, python3-argon2, python3-msgpack and python3-lz4.
(Argon2 does not come from PyNaCl: libsodium takes salts of 16 bytes only, and the wire's has 14.)

    client.py --url http://127.0.0.1:8080 --secret proxy-key --function demo.add --json '{"a": 1}'
    client.py --vectors wire-vectors.json

One line of JSON is printed.
The exit status is 0 for a success, 1 for a failure that the host reported in a sealed answer,
2 for everything else (a refusal in plain text, an answer that does not open, wrong usage)
and 3 when a package is missing.

Other users of the machine can see a secret on the command line: use throw-away secrets only.
"""

import argparse
import base64
import hashlib
import hmac
import http.client
import json
import os
import re
import struct
import sys
import time
import urllib.parse

try:
    import lz4.block
    import msgpack
    from argon2 import low_level as argon2
    from nacl import bindings as sodium
    from nacl.exceptions import CryptoError
except ImportError as missing:
    print(
        f"{missing}: install the Debian packages"
        " python3-nacl python3-argon2 python3-msgpack python3-lz4",
        file=sys.stderr,
    )
    sys.exit(3)

PATH = "/api/v1/proxy/remote"
CONTENT_TYPE = "application/vnd.framex.sealed"
MAGIC = b"FXW1"
REQUEST, RESPONSE = 1, 2
FLAG_LZ4 = 1
# Magic, kind, flags, zero, key id, request id, sent-at, nonce.
HEADER = struct.Struct("<4sBBH8s16sQ24s")
TAG_BYTES = 16
PLAINTEXT_BYTES_MAX = 64 * 1024 * 1024
COMPRESS_FROM_BYTES = 1024


class WireError(Exception):
    """An answer that is not what WIRE.md describes, or a refusal in plain text."""


def master_of(secret):
    """The 32 bytes that a configured secret stands for."""
    if re.fullmatch(r"fxk1_[A-Za-z0-9_-]{43}", secret):
        return base64.urlsafe_b64decode(secret.removeprefix("fxk1_") + "=")
    return argon2.hash_secret_raw(
        secret=secret.encode(),
        salt=b"framex-wire-v1",
        time_cost=2,
        memory_cost=19456,
        parallelism=1,
        hash_len=32,
        type=argon2.Type.ID,
    )


def hkdf_sha256(master, info, length):
    """RFC 5869; an empty salt stands for 32 zero bytes."""
    pseudorandom_key = hmac.new(bytes(32), master, hashlib.sha256).digest()
    output, block, counter = b"", b"", 1
    while len(output) < length:
        block = hmac.new(pseudorandom_key, block + info + bytes([counter]), hashlib.sha256).digest()
        output, counter = output + block, counter + 1
    return output[:length]


class KeySet:
    """What one secret gives: a key id and a key for each direction."""

    def __init__(self, secret):
        self.master = master_of(secret)
        derived = hkdf_sha256(self.master, b"framex-wire-v1 keys", 72)
        self.key_id, request_key, response_key = derived[:8], derived[8:40], derived[40:]
        self.keys = {REQUEST: request_key, RESPONSE: response_key}


def seal(keys, kind, request_id, sent_at_ms, nonce, plaintext, compress):
    """One frame around MessagePack bytes."""
    flags = FLAG_LZ4 if compress else 0
    if compress:
        block = lz4.block.compress(plaintext, store_size=False)
        plaintext = struct.pack("<I", len(plaintext)) + block
    header = HEADER.pack(MAGIC, kind, flags, 0, keys.key_id, request_id, sent_at_ms, nonce)
    return header + sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(
        plaintext, header, nonce, keys.keys[kind]
    )


def open_frame(keys, kind, request_id, frame):
    """The MessagePack bytes of a frame that answers (or is) the request with this id."""
    if len(frame) < HEADER.size + TAG_BYTES:
        raise WireError(f"a frame of {len(frame)} bytes is too short")
    header = frame[: HEADER.size]
    magic, its_kind, flags, zero, key_id, its_id, _sent_at_ms, nonce = HEADER.unpack(header)
    if magic != MAGIC:
        raise WireError(f"the answer begins with {magic!r}, not {MAGIC!r}")
    if its_kind != kind or flags & ~FLAG_LZ4 or zero or key_id != keys.key_id:
        raise WireError("the header of the answer is not that of an answer to this request")
    if its_id != request_id:
        raise WireError("the answer is for another request")
    try:
        plaintext = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
            frame[HEADER.size :], header, nonce, keys.keys[kind]
        )
    except CryptoError as error:
        raise WireError("the answer does not open with this secret") from error
    return decompress(plaintext) if flags & FLAG_LZ4 else plaintext


def decompress(plaintext):
    """What the u32 and the LZ4 block of a compressed plaintext stand for."""
    if len(plaintext) < 4:
        raise WireError("a compressed plaintext has no length")
    (length,) = struct.unpack("<I", plaintext[:4])
    if length > PLAINTEXT_BYTES_MAX:
        raise WireError(f"a plaintext of {length} bytes is over the limit")
    expanded = lz4.block.decompress(plaintext[4:], uncompressed_size=length)
    if len(expanded) != length:
        raise WireError("the length of a compressed plaintext is not exact")
    return expanded


def encode_request(
    function, arguments, timeout_ms, hops, traceparent, idempotency_key, extensions
):
    """The plaintext of a request; `arguments` and `extensions` are dictionaries."""
    packed = msgpack.packb(arguments, use_bin_type=True)
    return msgpack.packb(
        [function, packed, timeout_ms, hops, traceparent, idempotency_key, extensions],
        use_bin_type=True,
    )


def unpack(encoded):
    """One MessagePack value; trailing bytes are an error."""
    try:
        return msgpack.unpackb(encoded, raw=False, strict_map_key=False)
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise WireError(f"the answer is not MessagePack: {error}") from error


def decode_response(plaintext):
    """(a dictionary to print, the extensions) of a response's plaintext."""
    fields = unpack(plaintext)
    if not isinstance(fields, list) or len(fields) != 4:
        raise WireError("a response is an array of 4")
    host, succeeded, body, extensions = fields
    if not isinstance(host, str) or not isinstance(extensions, dict):
        raise WireError("a response has a wrong type")
    if succeeded is True and isinstance(body, bytes):
        return {"host": host, "ok": True, "result": unpack(body)}, extensions
    if succeeded is False and isinstance(body, dict):
        if not isinstance(body.get("code"), str) or not isinstance(body.get("message"), str):
            raise WireError("a failure has a code and a message")
        return {"host": host, "ok": False, "error": body}, extensions
    raise WireError("a response has a wrong type")


class Connection:
    """A connection to a host, which seals and stamps for the process that answers there."""

    def __init__(self, url, keys, timeout_ms):
        parts = urllib.parse.urlsplit(url)
        secure = parts.scheme == "https"
        connection_type = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self.http = connection_type(parts.netloc, timeout=timeout_ms / 1000 + 5)
        self.path = parts.path.rstrip("/") + PATH
        self.keys = keys
        self.timeout_ms = timeout_ms
        self.instance = os.urandom(16)
        # What a clock that does not jump is behind the peer's, in milliseconds.
        self.clock_ms = time.time_ns() // 1_000_000 - time.monotonic_ns() // 1_000_000

    def post(self, frame):
        """The bytes of a sealed answer; a refusal in plain text is a WireError."""
        self.http.request("POST", self.path, frame, {"content-type": CONTENT_TYPE})
        answer = self.http.getresponse()
        body = answer.read(PLAINTEXT_BYTES_MAX)
        if answer.status != 200:
            text = body.decode(errors="replace")
            raise WireError(f"the host answered with HTTP {answer.status}: {text}")
        if answer.getheader("content-type") != CONTENT_TYPE:
            raise WireError(f"the answer is {answer.getheader('content-type')}, not sealed")
        return body

    def send(self, function, arguments, extensions):
        """What a host answers, and the extensions of its answer."""
        # The plaintext would allow 0 for no deadline; a person at a terminal wants one.
        plaintext = encode_request(
            function, arguments, self.timeout_ms, [], None, None, extensions
        )
        request_id, nonce = os.urandom(16), os.urandom(24)
        sent_at_ms = self.clock_ms + time.monotonic_ns() // 1_000_000
        compress = len(plaintext) >= COMPRESS_FROM_BYTES
        frame = seal(self.keys, REQUEST, request_id, sent_at_ms, nonce, plaintext, compress)
        answer = self.post(frame)
        return decode_response(open_frame(self.keys, RESPONSE, request_id, answer))

    def hello(self):
        """The instance of the process that answers; seals once more if its clock is off."""
        for attempt in (1, 2):
            outcome, said = self.send("framex.hello", {}, {"hello": self.instance})
            if isinstance(said.get("now"), int):
                self.clock_ms = said["now"] - time.monotonic_ns() // 1_000_000
            if attempt == 1 and said.get("retry") is True:
                continue
            if not outcome["ok"] or outcome["result"] is not None:
                raise WireError(f"the host does not answer a hello: {outcome}")
            host, instance = said["by"]
            if not isinstance(host, str) or not isinstance(instance, bytes) or len(instance) != 16:
                raise WireError("the host does not say who it is")
            return instance
        raise AssertionError("the second attempt returns")


def call(url, secret, function, arguments, timeout_ms, to=None):
    """Calls a function, in the process that answers a hello or in `to`; returns what to print."""
    connection = Connection(url, KeySet(secret), timeout_ms)
    try:
        receiver = connection.hello()
        outcome, said = connection.send(function, arguments, {"to": to or receiver})
        if said["by"][1] != receiver:
            raise WireError("another process answered than the one that the call was made for")
        return outcome
    finally:
        connection.http.close()


def check_vectors(path):
    """What does not agree with a file of test vectors, and how many things were compared."""
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)
    wrong, compared = [], 0

    def compare(what, actual, expected):
        nonlocal compared
        compared += 1
        if actual.hex() != expected:
            wrong.append(what)

    for vector in vectors["keys"]:
        keys = KeySet(vector["secret"])
        compare(f"master of {vector['secret']}", keys.master, vector["master"])
        compare(f"key id of {vector['secret']}", keys.key_id, vector["key_id"])
        compare(f"request key of {vector['secret']}", keys.keys[REQUEST], vector["request_key"])
        compare(f"response key of {vector['secret']}", keys.keys[RESPONSE], vector["response_key"])
    for vector in vectors["frames"]:
        keys, kind = KeySet(vector["secret"]), vector["kind"]
        request_id, nonce = bytes.fromhex(vector["request_id"]), bytes.fromhex(vector["nonce"])
        plaintext = bytes.fromhex(vector["plaintext"])
        opened = open_frame(keys, kind, request_id, bytes.fromhex(vector["frame"]))
        compare(f"opening of {vector['name']}", opened, vector["plaintext"])
        sealed = seal(
            keys, kind, request_id, vector["sent_at_ms"], nonce, plaintext, vector["lz4"]
        )
        if vector["lz4"]:
            # Another compressor may give other bytes; what they open to is the same.
            opened = open_frame(keys, kind, request_id, sealed)
            compare(f"sealing of {vector['name']}", opened, vector["plaintext"])
        else:
            compare(f"sealing of {vector['name']}", sealed, vector["frame"])
    return wrong, compared


def printable(value):
    """MessagePack has bytes, JSON does not: they are printed in base64."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else repr(value)


def main():
    parser = argparse.ArgumentParser(description="Calls a function of a framex host.")
    parser.add_argument("--url", help="the host, such as http://127.0.0.1:8080")
    parser.add_argument("--secret", help="a passphrase or an fxk1_ key")
    parser.add_argument("--function", help="the name of the function")
    parser.add_argument("--json", default="{}", help="the arguments, a JSON object")
    parser.add_argument("--timeout-ms", type=int, default=30_000)
    parser.add_argument("--to", help="the instance to name as the receiver, 32 hexadecimal digits")
    parser.add_argument("--vectors", metavar="FILE", help="check a file of test vectors")
    options = parser.parse_args()
    if options.vectors:
        wrong, compared = check_vectors(options.vectors)
        print(json.dumps({"compared": compared, "wrong": wrong}))
        return 2 if wrong or not compared else 0
    if not (options.url and options.secret and options.function):
        parser.error("--url, --secret and --function are needed, or --vectors")
    arguments = json.loads(options.json)
    if not isinstance(arguments, dict):
        parser.error("--json takes an object")
    try:
        outcome = call(
            options.url,
            options.secret,
            options.function,
            arguments,
            options.timeout_ms,
            bytes.fromhex(options.to) if options.to else None,
        )
    except (WireError, OSError, KeyError, http.client.HTTPException) as error:
        print(json.dumps({"ok": False, "refused": str(error)}))
        return 2
    print(json.dumps(outcome, default=printable, ensure_ascii=False))
    return 0 if outcome["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
