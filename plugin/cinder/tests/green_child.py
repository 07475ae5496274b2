"""Run by test_eventlet in a process of its own: hooks on green threads, as in cinder-volume.

Its arguments are a server's socket and how many hooks ask. It prints what they were answered, how
long that took and how often another green thread had its turn meanwhile.
"""

import eventlet

eventlet.monkey_patch()

import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

from clonecache_cinder import client  # noqa: E402


def main(path, number):
    turns = [0]

    def ticks():
        while True:
            turns[0] += 1
            eventlet.sleep(0.01)

    def asks(n):
        body = {'image': 'glance:1', 'volume': 'volume-%d' % n, 'size_bytes': 1 << 30}
        return client.Daemon(path, 90.0).create_volume('b', body, timeout=90.0)['outcome']

    ticker = eventlet.spawn(ticks)
    begun = time.monotonic()
    waiting = [eventlet.spawn(asks, n) for n in range(number)]
    outcomes = [w.wait() for w in waiting]
    took = time.monotonic() - begun
    ticker.kill()
    print(json.dumps({'outcomes': outcomes, 'took': took, 'turns': turns[0]}))


main(sys.argv[1], int(sys.argv[2]))
