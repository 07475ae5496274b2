"""Makes volumes with the hook before a driver of 2 clones, lent by the daemon at a socket.

The image-volumes are the daemon's, in a Cinder that a Go test serves; here they are rows and files
that the driver finds under their IDs. It prints how each loan ended, and fails where a volume did
not become one.
"""

import os
import sys
import tempfile
import time
from unittest import mock

from tests import support  # first: the drivers need Cinder's objects
from tests import test_lending

from cinder import objects

from clonecache_cinder import client


class Child(test_lending.LendingCase):
    def setUp(self):
        support.CinderCase.setUp(self)
        support.here.path = self.dir

    def runTest(self):
        d = self.before(clonecache_socket=sys.argv[1],
                        clonecache_driver='tests.test_lending.CloningDriver')
        image = dict(support.IMAGE, virtual_size=8192)
        known, ends = {}, []

        def found(context, volume_id):
            if volume_id not in known:
                known[volume_id] = self.image_volume()
            return known[volume_id]
        ended = client.Daemon.end_loan

        def noted(daemon, loan, how):
            ends.append(how)
            self.assertTrue(daemon.renew_loan(loan))
            ended(daemon, loan, how)
            self.assertFalse(daemon.renew_loan(loan))
        d.do_setup(self.context)
        self.assertEqual('p', d._clonecache_daemon().tenant_project())
        with mock.patch.object(objects.Volume, 'get_by_id', found), \
                mock.patch.object(client.Daemon, 'end_loan', noted), \
                mock.patch.object(test_lending.CloningDriver, 'limit', 2):
            for _ in range(5):
                volume = self.volume()
                self.assertEqual(({'provider_location': 'cloned'}, True),
                                 self.clone(d, volume, image))
                self.assertEqual('the image', self.content(volume))
        print(' '.join(ends), 'of', len(known), 'volumes')


def await_daemon(path):
    end = time.monotonic() + 90
    while True:
        connection = client._Connection(path)
        try:
            return client.Daemon(path, 5.0)._ready(connection)
        except client.Unavailable:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        finally:
            connection.close()


if __name__ == '__main__':
    tempfile.tempdir = os.environ.get('TMPDIR')
    await_daemon(sys.argv[1])
    support.start_cinder()
    Child().debug()
