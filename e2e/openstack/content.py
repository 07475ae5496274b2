#!/usr/bin/python3
"""content.py CONF POOL BYTES NAME...

Prints a line for each RBD image: its name, the SHA-256 of its first BYTES bytes, its size, and whether what
follows them is "zero" or "data".
"""
import hashlib
import sys

import rados
import rbd

PIECE = 4 << 20


def describe(image, length):
    digest = hashlib.sha256()
    for offset in range(0, length, PIECE):
        digest.update(image.read(offset, min(PIECE, length - offset)))
    size = image.size()
    rest = "zero"

    def look(offset, count, exists):
        nonlocal rest
        if exists and any(image.read(offset, count)):
            rest = "data"

    if size > length:
        image.diff_iterate(length, size - length, None, look)
    return f"{digest.hexdigest()} {size} {rest}"


def main(conf, pool, length, names):
    with rados.Rados(conffile=conf, rados_id="cinder") as cluster, cluster.open_ioctx(pool) as ioctx:
        for name in names:
            with rbd.Image(ioctx, name, read_only=True) as image:
                print(name, describe(image, int(length)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
