#!/usr/bin/python3
"""expired.py KEYS

Reads a token of Keystone's from standard input, and prints the same one as it would be if it had expired an hour ago. KEYS
is the folder of Keystone's fernet keys.
"""
import os
import sys
import time

import msgpack
from cryptography import fernet


def main(keys, token):
    newest = max(os.listdir(keys), key=int)
    with open(os.path.join(keys, newest), "rb") as file:
        key = fernet.Fernet(file.read())
    payload = msgpack.unpackb(key.decrypt(token + b"=" * (-len(token) % 4)))
    # Keystone's token_formatters.py: the moment of expiry is the only number with a fraction.
    payload = [time.time() - 3600 if isinstance(part, float) else part for part in payload]
    return key.encrypt(msgpack.packb(payload)).rstrip(b"=")


if __name__ == "__main__":
    print(main(sys.argv[1], sys.stdin.read().strip().encode()).decode())
