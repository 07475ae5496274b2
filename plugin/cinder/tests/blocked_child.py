"""Run by test_eventlet in a process of its own: a hook whose process stands still as it waits.

Its arguments are a server's socket and the seconds for which the daemon is trusted to begin its
answer. Once something comes on standard input no green thread runs until that time is over, as
when a driver calls a library that blocks. It prints what the hook was answered.
"""

import eventlet

eventlet.monkey_patch()

import sys  # noqa: E402

from eventlet import hubs  # noqa: E402
from eventlet import patcher  # noqa: E402

from clonecache_cinder import client  # noqa: E402


def main(path, patience):
    def stand_still():
        hubs.trampoline(0, read=True)
        patcher.original('time').sleep(patience + 1)  # not a green sleep: nobody else runs

    eventlet.spawn(stand_still)
    body = {'image': 'glance:1', 'volume': 'volume-1', 'size_bytes': 1 << 30}
    try:
        print(client.Daemon(path, patience).create_volume('b', body, timeout=30.0)['outcome'])
    except client.DaemonError as e:
        print('%s: %s' % (e.kind, e))


main(sys.argv[1], float(sys.argv[2]))
