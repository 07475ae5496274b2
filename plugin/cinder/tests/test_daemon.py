"""The hook with the real daemon: what it makes, and what is left when either of them goes away."""

import os
import signal
import unittest
from unittest import mock

from clonecache_cinder import client
from clonecache_cinder import progress
from tests import daemon
from tests import support
from tests.test_hook import running, until

GIB = 1 << 30


@unittest.skipUnless(os.path.exists(daemon.PROGRAM), 'no clonecache program (make build)')
class DaemonTest(support.CinderCase):
    def setUp(self):
        super().setUp()
        self.images = daemon.Images(os.urandom(4 << 20))
        self.addCleanup(self.images.stop)
        self.daemon = daemon.Daemon(self.dir, self.images)
        self.addCleanup(self.daemon.remove)

    def hooked(self, **settings):
        settings.setdefault('clonecache_connect_timeout', 60.0)
        return self.driver(self.daemon.socket, **settings)

    def whole(self, volume):
        """The volume's file is the image, and the rest of its size reads as zeroes."""
        with open(os.path.join(self.dir, volume.name), 'rb') as f:
            self.assertEqual(self.images.content, f.read(len(self.images.content)))
            self.assertEqual(bytes(1 << 20), f.read(1 << 20))
            self.assertEqual(volume.size * GIB, f.seek(0, os.SEEK_END))

    def volumes(self):
        """The names that the daemon lists."""
        return sorted(v['volume'] for v in self.daemon.get('/v1/volumes'))

    def test_volumes_are_made_from_one_download(self):
        self.daemon.start()
        d = self.hooked()
        made = [self.volume(size=size) for size in (1, 2, 1)]
        for volume in made:
            self.assertEqual(({'provider_location': 'here'}, True), self.clone(d, volume))
            self.whole(volume)
        self.assertEqual(1, self.images.gets)
        self.assertEqual(sorted(v.name for v in made), self.volumes())

    def test_simultaneous_volumes_are_made_from_one_download(self):
        self.daemon.start()
        d = self.hooked()
        made = [self.volume() for _ in range(12)]
        answers = in_threads([lambda v=v: self.clone(d, v) for v in made])
        self.assertEqual([True] * 12, [a[1] for a in answers])
        self.assertEqual(1, self.images.gets)

    def test_a_repeated_create_is_the_same_volume(self):
        self.daemon.start()
        d, volume = self.hooked(), self.volume()
        self.assertTrue(self.clone(d, volume)[1])
        self.assertTrue(self.clone(d, volume)[1])
        self.assertEqual([volume.name], self.left())

    def test_users_see_a_waiting_volume_downloading(self):
        self.daemon.start()
        self.images.flows.clear()
        d, volume = self.hooked(), self.volume()
        with mock.patch.multiple(progress, FIRST_AFTER=0.0, EVERY=0.0):
            with running(lambda: self.clone(d, volume)) as answer:
                self.addCleanup(self.images.flows.set)
                until(lambda: progress.KEY in support.seen_by_users(volume)[1])
                status, metadata = support.seen_by_users(volume)
                self.assertEqual('downloading', status)
                self.assertRegex(metadata[progress.KEY], r'^\d+%$')
                self.images.flows.set()
        self.assertTrue(answer[0][1])
        self.assertEqual({}, support.seen_by_users(volume)[1])

    def test_in_the_background_the_image_is_cached_meanwhile(self):
        self.daemon.start()
        d = self.hooked(clonecache_on_miss='background')
        self.assertEqual((None, False), self.clone(d, self.volume()))
        until(lambda: not self.daemon.get('/v1/fills') and self.daemon.get('/v1/entries'))
        self.assertTrue(self.clone(d, self.volume())[1])
        self.assertEqual(1, self.images.gets)

    def test_a_volume_that_is_too_small_goes_cinders_way(self):
        self.images.content = os.urandom(1 << 20) + bytes(GIB)
        self.daemon.start()
        with self.assertLogs('clonecache_cinder', 'WARNING') as logged:
            self.assertEqual((None, False), self.clone(self.hooked(), self.volume()))
        self.assertIn('volume_too_small', logged.output[0])
        self.assertEqual([], self.left())

    def test_killed_in_a_fill(self):
        self.daemon.start()
        self.images.flows.clear()
        d, volume = self.hooked(), self.volume()
        with running(lambda: self.clone(d, volume)) as answer:
            self.addCleanup(self.images.flows.set)
            self.images.await_half()
            self.daemon.kill()
        self.assertEqual([(None, False)], answer)
        self.assertEqual([], self.left())
        self.images.flows.set()
        self.daemon.start()
        self.assertTrue(self.clone(d, volume)[1])

    @unittest.skipUnless(daemon.HAS_FAILPOINTS, 'the program was built without failpoints')
    def test_killed_when_the_volume_is_made_and_nobody_was_told(self):
        step = 'clone'
        self.daemon.start()
        d = self.hooked()
        self.clone(d, self.volume())
        if self.daemon.get('/v1/report')['total']['outcomes'].get('copied'):
            step = 'copy'  # no reflinks here
        self.daemon.kill()
        before = self.left()
        self.daemon.start(kill_after=step)
        volume = self.volume()
        self.assertEqual((None, False), self.clone(d, volume))
        self.daemon.wait()
        self.assertEqual(before, self.left(), 'the volume that nobody was told of is gone')
        self.cinder_makes(volume)
        self.daemon.start()
        self.untouched(volume)

    def test_after_the_hook_gave_up_the_daemon_makes_nothing(self):
        self.daemon.start()
        self.images.flows.clear()
        self.addCleanup(self.images.flows.set)
        d, volume = self.hooked(clonecache_timeout=5.0), self.volume()
        with mock.patch.object(client, 'GRACE', -4.0):  # it gives up after a second
            self.assertEqual((None, False), self.clone(d, volume))
        self.cinder_makes(volume)
        self.images.flows.set()
        until(lambda: not self.daemon.get('/v1/fills'))
        self.untouched(volume)

    def test_a_daemon_that_stands_still_is_not_waited_for(self):
        self.daemon.start()
        self.daemon.signal(signal.SIGSTOP)
        d, volume = self.hooked(clonecache_connect_timeout=0.5), self.volume()
        self.assertEqual((None, False), self.clone(d, volume))
        self.cinder_makes(volume)
        self.daemon.signal(signal.SIGCONT)
        self.daemon.await_ready()
        self.untouched(volume)

    def test_a_daemon_that_stood_still_in_a_fill_makes_nothing_when_it_goes_on(self):
        self.daemon.start()
        self.images.flows.clear()
        self.addCleanup(self.images.flows.set)
        d = self.hooked(clonecache_timeout=9.0, clonecache_connect_timeout=5.0)
        volume = self.volume()
        with mock.patch.object(client, 'GRACE', -4.0):  # the daemon has five seconds to begin
            with running(lambda: self.clone(d, volume)) as answer:
                self.images.await_half()
                self.daemon.signal(signal.SIGSTOP)
        self.assertEqual([(None, False)], answer)
        self.cinder_makes(volume)
        self.images.flows.set()
        self.daemon.signal(signal.SIGCONT)
        until(lambda: not self.daemon.get('/v1/fills'))
        self.untouched(volume)

    def cinder_makes(self, volume):
        """Cinder takes the volume's name for a file of its own."""
        with open(os.path.join(self.dir, volume.name), 'xb') as f:
            f.write(b"Cinder's own")

    def untouched(self, volume):
        with open(os.path.join(self.dir, volume.name), 'rb') as f:
            self.assertEqual(b"Cinder's own", f.read())


def in_threads(calls):
    """What the calls return, each in a thread of its own."""
    started = [running(call) for call in calls]
    answers = [r.__enter__() for r in started]
    for r in started:
        r.__exit__(None, None, None)
    return [a[0] for a in answers]


if __name__ == '__main__':
    unittest.main()
