"""The hook before a driver, with a server that answers as the test says."""

import contextlib
import os
import threading
import time
import unittest
import uuid
from unittest import mock

from oslo_config import cfg

from clonecache_cinder import client
from clonecache_cinder import notices
from clonecache_cinder import progress
from tests import support
from tests.misbehaving import CHUNKED, chunk, lines, made, reply

LOG = 'clonecache_cinder.notices'
GIB = 1 << 30


class HookCase(support.CinderCase):
    def setUp(self):
        super().setUp()
        for module, name, value in ((client, 'GRACE', 0.1), (progress, 'FIRST_AFTER', 0.0),
                                    (progress, 'EVERY', 0.0)):
            patched = mock.patch.object(module, name, value)
            patched.start()
            self.addCleanup(patched.stop)

    def leaves(self, request):
        """Make the file that a daemon would have made."""
        with open(os.path.join(self.dir, request.json['volume']), 'wb') as f:
            f.truncate(request.json['size_bytes'])


class ClonedTest(HookCase):
    def test_the_volume_is_made_and_the_update_returned(self):
        server = self.serve(lambda r: r.send(lines(made(r.json))))
        volume = self.volume(size=3)
        self.assertEqual(({'provider_location': 'here'}, True),
                         self.clone(self.driver(server.path), volume))
        request, = server.requests
        request.json.pop('deadline')
        self.assertEqual('/v1/backends/files/volumes', request.path)
        self.assertEqual('the-users-token', request.headers['x-auth-token'])
        self.assertEqual({'image': 'glance:' + support.IMAGE['id'], 'volume': volume.name,
                          'size_bytes': 3 * GIB, 'volume_type': '__DEFAULT__',
                          'project_id': 'project',
                          'on_miss': 'wait'}, request.json)

    def test_settings_name_backend_and_source(self):
        server = self.serve(lambda r: r.send(lines(made(r.json))))
        d = self.driver(server.path, clonecache_backend='ssd', clonecache_image_source='images',
                        clonecache_on_miss='background')
        self.assertTrue(self.clone(d, self.volume())[1])
        request, = server.requests
        self.assertEqual('/v1/backends/ssd/volumes', request.path)
        self.assertEqual('background', request.json['on_miss'])
        self.assertTrue(request.json['image'].startswith('images:'))

    def test_what_glance_knows_of_the_disk_goes_along(self):
        server = self.serve(lambda r: r.send(lines(made(r.json))))
        image = dict(support.IMAGE, disk_format='qcow2', virtual_size=12345)
        self.assertTrue(self.clone(self.driver(server.path), self.volume(), image)[1])
        self.assertEqual(12345, server.requests[0].json['image_virtual_bytes'])

    def test_where_the_image_lies_goes_along(self):
        a, b = 'rbd://fsid/images/1/snap', 'rbd://fsid/images/2/snap'
        for given, want in (
                ((a, [{'url': a, 'metadata': {}}, {'url': b}]), [a, b]),
                ((None, [{'url': b}]), [b]), ((a, None), [a]),
                (('file:///1', [{'url': 'https://x'}, {}]), None), ((None, None), None),
                ((), None), (None, None)):
            with self.subTest(given=given):
                server = self.serve(lambda r: r.send(lines(made(r.json))))
                cloned = self.clone(self.driver(server.path), self.volume(), location=given)
                self.assertTrue(cloned[1])
                self.assertEqual(want, server.requests[0].json.get('image_locations'))

    def test_odd_locations_are_cinders(self):
        d = self.driver(os.path.join(self.dir, '.absent'))
        for given in (7, ('x', 7), (None, ['x']), 'rbd://a'):
            with self.subTest(given=given):
                self.assertEqual((None, False), self.clone(d, self.volume(), location=given))

    def test_the_daemon_is_told_what_the_volume_is_to_be(self):
        server = self.serve(lambda r: r.send(lines({'answer': {
            'outcome': 'bypassed', 'reason': 'encrypted', 'volume': r.json['volume']}})))
        volume = self.volume(encryption_key_id=str(uuid.uuid4()))
        self.assertEqual((None, False), self.clone(self.driver(server.path), volume))
        self.assertIs(True, server.requests[0].json['encrypted'])
        self.assertEqual('__DEFAULT__', server.requests[0].json['volume_type'])
        self.assertEqual([], self.left())

    def test_every_outcome_that_makes_a_volume_counts(self):
        for outcome in ('hit', 'filled', 'joined', 'direct', 'copied'):
            with self.subTest(outcome=outcome):
                server = self.serve(lambda r, o=outcome: r.send(lines(made(r.json, o))))
                self.assertTrue(self.clone(self.driver(server.path), self.volume())[1])


class FallBackTest(HookCase):
    """Whatever goes wrong, the driver's own answer is returned, and no volume is left."""

    def falls_back(self, server_path, kind, image=support.IMAGE, **settings):
        settings.setdefault('clonecache_timeout', 5.0)
        d = self.driver(server_path, **settings)
        d.usual = ({'provider_location': 'by Cinder'}, True)
        volume = self.volume()
        with self.assertLogs(LOG, 'DEBUG') as logged:
            self.assertEqual(d.usual, self.clone(d, volume, image))
        self.assertIn(": %s: " % kind, logged.output[0])
        self.assertNotIn('the-users-token', ''.join(logged.output))
        self.assertEqual([], self.left())
        self.assertEqual(('creating', {}), support.seen_by_users(volume))
        return logged.output[0]

    def test_no_daemon(self):
        said = self.falls_back(os.path.join(self.dir, '.absent'), 'daemon_unreachable')
        self.assertIn('start clonecache', said)

    def test_errors_of_the_api(self):
        error = {'error': {'code': 'image_refused', 'message': 'x'}}
        server = self.serve(lambda r: r.send(lines(error)))
        self.falls_back(server.path, 'image_refused')
        error = {'error': {'code': 'unknown_backend', 'message': 'x'}}
        server = self.serve(lambda r: r.send(reply(404, error)))
        self.assertIn('clonecache_backend', self.falls_back(server.path, 'unknown_backend'))

    def test_bypassed(self):
        server = self.serve(lambda r: r.send(lines({'answer': {
            'outcome': 'bypassed', 'reason': 'over_quota', 'detail': 'full'}})))
        self.assertIn('raise the internal', self.falls_back(server.path, 'over_quota'))

    def test_the_time_is_over(self):
        def makes_too_late(request):
            request.send(CHUNKED)
            self.leaves(request)
            request.until_closed()
        with mock.patch.object(client, 'GRACE', -3.0):  # the server has two seconds
            server = self.serve(makes_too_late)
            self.falls_back(server.path, 'deadline')
        request, = server.requests
        self.assertEqual([request.path + '/' + request.json['volume']], server.deleted)

    def test_leftovers_of_a_daemon_that_died_are_removed(self):
        def dies(request):
            self.leaves(request)
            request.send(CHUNKED + chunk(b'{"answer": {'))
        self.falls_back(self.serve(dies).path, 'connection_lost')

    def test_a_daemon_that_lives_is_asked_to_remove_what_it_made(self):
        def wrong(request):
            self.leaves(request)
            request.send(lines(made(request.json, size_bytes=5)))
        server = self.serve(wrong)
        self.falls_back(server.path, 'bad_answer')
        request, = server.requests
        self.assertEqual([request.path + '/' + request.json['volume']], server.deleted)

    def test_an_answer_about_something_else(self):
        for wrong in ({'volume': 'volume-x'}, {'size_bytes': '1'}, {'outcome': 'eaten'},
                      {'outcome': ['hit']}, {'outcome': None}):
            with self.subTest(wrong=wrong):
                server = self.serve(lambda r, w=wrong: r.send(lines(
                    {'answer': dict(made(r.json)['answer'], **w)})))
                self.falls_back(server.path, 'bad_answer')

    def test_images_that_are_left_to_cinder_are_not_asked_for(self):
        server = self.serve(lambda r: r.send(lines(made(r.json))))
        signed = {'img_signature': 'abc'}
        for change in ({'disk_format': 'vmdk'}, {'disk_format': None},
                       {'container_format': 'compressed'},
                       {'properties': {'cinder_encryption_key_id': 'k'}}, {'properties': signed}):
            with self.subTest(change=change):
                self.falls_back(server.path, 'not_asked', dict(support.IMAGE, **change))
        self.assertEqual([], server.requests)
        cfg.CONF.set_override('verify_glance_signatures', 'disabled')
        self.addCleanup(cfg.CONF.clear_override, 'verify_glance_signatures')
        image = dict(support.IMAGE, properties=signed)
        self.assertTrue(self.clone(self.driver(server.path), self.volume(), image)[1])

    def test_a_volume_that_cannot_be_finished_is_removed(self):
        def makes(request):
            self.leaves(request)
            request.send(lines(made(request.json)))
        d = self.driver(self.serve(makes).path)
        d.finished = RuntimeError('no QoS')
        with self.assertLogs('clonecache_cinder', 'WARNING'):
            self.assertEqual((None, False), self.clone(d, self.volume()))
        self.assertEqual([], self.left())

    def test_only_the_drivers_own_exceptions_leave_it(self):
        d = self.driver(os.path.join(self.dir, '.absent'))
        d.usual = KeyError('the driver')
        with self.assertRaisesRegex(KeyError, 'the driver'):
            self.clone(d, self.volume())

    def test_what_is_no_volume_is_cinders(self):
        server = self.serve(lambda r: r.send(lines(made(r.json))))
        d = self.driver(server.path)
        for volume in ({'id': 'a', 'name': 'b', 'size': 1}, mock.Mock(spec=['id']), None):
            for image in (support.IMAGE, {}, None, mock.sentinel.image):
                with self.subTest(volume=volume, image=image):
                    self.assertEqual((None, False), self.clone(d, volume, image))
        self.assertEqual([], server.requests)

    def test_odd_metadata_of_an_image_is_cinders(self):
        d = self.driver(os.path.join(self.dir, '.absent'))
        bare = {'disk_format': 'raw', 'container_format': 'bare'}
        for image in (None, {}, [], bare, dict(bare, properties=7), dict(support.IMAGE, id=None)):
            with self.subTest(image=image):
                self.assertEqual((None, False), self.clone(d, self.volume(), image))

    def test_an_error_of_the_hook_itself(self):
        d = self.driver(os.path.join(self.dir, '.absent'))
        with mock.patch.object(d, '_clonecache_place', side_effect=TypeError('x')):
            with self.assertLogs('clonecache_cinder', 'WARNING') as logged:
                self.assertEqual((None, False), self.clone(d, self.volume()))
        self.assertIn('hook_error', ''.join(logged.output))


class ProgressTest(HookCase):
    def test_users_see_it_and_it_goes_again(self):
        go_on = threading.Semaphore(0)
        self.addCleanup(go_on.release, 9)

        def slowly(request):
            request.send(CHUNKED)
            for done in (1, 5, 9):
                progress = b'{"progress": {"read_bytes": %d, "total_bytes": 10}}\n'
                request.send(chunk(progress % done))
                go_on.acquire()
            request.send(lines(made(request.json))[len(CHUNKED):])
        d, volume = self.driver(self.serve(slowly).path), self.volume()
        with running(lambda: self.clone(d, volume)) as answer:
            for percent in ('10%', '50%', '90%'):
                until(lambda: support.seen_by_users(volume) ==
                      ('downloading', {progress.KEY: percent}))  # noqa: B023
                go_on.release()
        self.assertEqual([({'provider_location': 'here'}, True)], answer)
        self.assertEqual({}, support.seen_by_users(volume)[1])

    def test_a_volume_that_goes_cinders_way_is_creating_again(self):
        server = self.serve(lambda r: r.send(lines(
            {'progress': {'read_bytes': 3 << 20, 'total_bytes': -1}},
            {'answer': {'outcome': 'bypassed', 'reason': 'no_room'}})))
        d, volume = self.driver(server.path), self.volume()
        with mock.patch.object(d.db, 'volume_metadata_delete') as deleted:
            self.clone(d, volume)
        self.assertTrue(deleted.called)
        self.assertEqual(('creating', {progress.KEY: '3 MiB'}), support.seen_by_users(volume))

    def test_it_can_be_switched_off(self):
        server = self.serve(lambda r: r.send(lines({'progress': {'read_bytes': 1}}, made(r.json))))
        d, volume = self.driver(server.path, clonecache_progress=False), self.volume()
        self.assertTrue(self.clone(d, volume)[1])
        self.assertEqual(('creating', {}), support.seen_by_users(volume))

    def test_a_database_that_fails_changes_nothing(self):
        server = self.serve(lambda r: r.send(lines(
            {'progress': {'read_bytes': 1}}, {'progress': {'read_bytes': 1 << 30}}, made(r.json))))
        d = self.driver(server.path)
        with mock.patch.object(d.db, 'volume_metadata_update', side_effect=OSError) as called:
            self.assertTrue(self.clone(d, self.volume())[1])
        self.assertEqual(1, called.call_count)

    def test_a_short_wait_shows_nothing(self):
        with mock.patch.object(progress, 'FIRST_AFTER', 60.0):
            server = self.serve(lambda r: r.send(lines({'progress': {}}, made(r.json))))
            d, volume = self.driver(server.path), self.volume()
            with mock.patch.object(d.db, 'volume_metadata_update') as called:
                self.clone(d, volume)
        self.assertFalse(called.called)

    def test_numbers_are_put_in_words(self):
        for given, want in (({'read_bytes': 5, 'total_bytes': 10}, '50%'),
                            ({'read_bytes': 11, 'total_bytes': 10}, '100%'),
                            ({'read_bytes': 5 << 20, 'total_bytes': -1}, '5 MiB'),
                            ({'read_bytes': None, 'total_bytes': 'x'}, '0 MiB'), ({}, '0 MiB')):
            with self.subTest(given=given):
                self.assertEqual(want, progress.describe(given))


class WaitingTest(HookCase):
    def test_more_than_may_wait_go_on_in_the_background(self):
        go_on = threading.Event()
        self.addCleanup(go_on.set)

        def holds(request):
            if request.json['on_miss'] == 'wait':
                go_on.wait()
                request.send(lines(made(request.json)))
            else:
                request.send(lines({'answer': {'outcome': 'bypassed', 'reason': 'filling'}}))
        server = self.serve(holds)
        d = self.driver(server.path, clonecache_max_waiting=2, clonecache_connect_timeout=30.0)
        with contextlib.ExitStack() as stack:
            waiting = [stack.enter_context(running(lambda: self.clone(d, self.volume())))
                       for _ in range(2)]
            until(lambda: len(server.requests) == 2)
            self.assertEqual((None, False), self.clone(d, self.volume()))
            go_on.set()
        self.assertEqual([True, True], [a[0][1] for a in waiting])
        self.assertTrue(self.clone(d, self.volume())[1], 'the places are free again')

    def test_the_places_leave_threads_for_cinder(self):
        cases = ((None, None, 32), (8, None, 4), (8, 7, 7), (8, 8, 4), (8, 0, 0), (64, 50, 50))
        for pool, wanted, want in cases:
            with self.subTest(pool=pool, wanted=wanted):
                fake = mock.Mock(spec_set=['executor_thread_pool_size'])
                fake.executor_thread_pool_size = pool
                d = self.driver('/', clonecache_max_waiting=wanted)
                with mock.patch('clonecache_cinder.hook.CONF', fake if pool else cfg.CONF):
                    self.assertEqual(want, d._clonecache_places())


class NoticesTest(unittest.TestCase):
    def setUp(self):
        self.now = 100.0
        self.notices = notices.Notices('rbd1', lambda: self.now)

    def say(self, kind):
        with self.assertLogs(LOG, 'DEBUG') as logged:
            self.notices.fell_back('volume-1', kind, 'because')
        record, = logged.records
        return record.levelname, record.getMessage()

    def test_each_kind_is_said_aloud_once(self):
        self.assertEqual('WARNING', self.say('no_room')[0])
        self.assertEqual('DEBUG', self.say('no_room')[0])
        self.assertEqual('WARNING', self.say('scratch_full')[0])

    def test_what_goes_on_is_said_again(self):
        for _ in range(3):
            self.say('no_room')
        self.now += notices.AGAIN_AFTER
        level, text = self.say('no_room')
        self.assertEqual('WARNING', level)
        self.assertIn('2 more', text)
        self.assertIn('max_size', text)

    def test_what_is_ordinary_is_never_said_aloud(self):
        self.assertEqual('DEBUG', self.say('filling')[0])


@contextlib.contextmanager
def running(call):
    """Run call in a thread; the list holds what it returned once the block is over."""
    answer = []
    thread = threading.Thread(target=lambda: answer.append(call()))
    thread.start()
    try:
        yield answer
    finally:
        thread.join()


def until(holds):
    end = time.monotonic() + 60
    while not holds():
        if time.monotonic() > end:
            raise AssertionError('it never came about')
        time.sleep(0.01)


if __name__ == '__main__':
    unittest.main()
