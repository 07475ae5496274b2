"""The hook before any driver: it clones what the daemon lends, and says what became of it."""

import os
import shutil
import threading
import time
import uuid
from unittest import mock

from tests import support  # first: the drivers need Cinder's objects

from cinder import context
from cinder import db
from cinder import exception
from cinder import objects
from oslo_config import cfg

from clonecache_cinder import client
from clonecache_cinder import driver as any_driver
from clonecache_cinder import guess
from clonecache_cinder import hook
from clonecache_cinder import lending
from clonecache_cinder import loan
from tests.misbehaving import lines, reply

CONF = cfg.CONF
LOG = 'clonecache_cinder'
PLACE = 'host@b#b'


class CloningDriver(support.DirectoryDriver):
    """Its clones are copies of files. It allows ``limit`` clones of one volume."""

    limit = 32
    fails = None  # raised once the clone is half made
    slow = None  # called while the clone is half made

    def __init__(self, *args, **kwargs):
        super().__init__(support.here.path, *args, **kwargs)
        self.clones = {}
        self._lock = threading.Lock()

    def create_cloned_volume(self, volume, source):
        with self._lock:
            taken = self.clones.setdefault(source.id, [])
            if len(taken) >= self.limit:
                raise exception.SnapshotLimitReached(set_limit=self.limit)
            taken.append(volume.id)
        shutil.copy(self.local_path(source), self.local_path(volume))
        if self.slow is not None:
            type(self).slow()
        if self.fails is not None:
            volume.provider_location = 'half'
            raise self.fails
        return {'provider_location': 'cloned'}


class Lender:
    """The daemon's part: an image-volume of several generations, and who has a loan of which."""

    def __init__(self, make):
        self._make = make
        self._lock = threading.Lock()
        self.generations = []  # [volume, full]
        self.loans = {}
        self.ends = []
        self.asked = []
        self.every = None  # renew_seconds
        self.keeps = False
        self.renewed = threading.Semaphore(0)  # released for each renewal
        self.refused = threading.Semaphore(0)  # released for each of a loan that has ended

    def __call__(self, request):
        if request.method == 'PUT':
            return self._end(request)
        if request.path.endswith('/renew'):
            return self._renew(request)
        with self._lock:
            self.asked.append(request.json)
            open_ones = [g for g in self.generations if not g[1]]
            if not open_ones:
                open_ones = [[self._make(), False]]
                self.generations += open_ones
            loan, lent = str(uuid.uuid4()), open_ones[0][0]
            self.loans[loan] = lent
        answer = {'outcome': 'hit', 'reason': 'ready', 'volume': request.json['volume'],
                  'size_bytes': request.json['size_bytes'], 'loan': loan, 'lent': lent.id}
        if self.every:
            answer['renew_seconds'] = self.every
        if self.keeps:
            answer['keeps'] = True
        request.send(lines({'answer': answer}))
        return True

    def _renew(self, request):
        with self._lock:
            lives = request.path.split('/')[-2] in self.loans
        request.send(reply(204 if lives else 404, b''))
        (self.renewed if lives else self.refused).release()
        return True

    def _end(self, request):
        loan, end = request.path.rpartition('/')[2], request.json['end']
        with self._lock:
            lent = self.loans.pop(loan, None)
            self.ends.append(end)
            for g in self.generations:
                if g[0] is lent and end in ('full', 'gone'):
                    g[1] = True
        request.send(reply(204, b''))
        return True


class LendingCase(support.CinderCase):
    def setUp(self):
        super().setUp()
        support.here.path = self.dir
        self.lender = Lender(self.image_volume)
        self.server = self.serve(self.lender)

    def before(self, driver=CloningDriver, **settings):
        settings.setdefault('clonecache_connect_timeout', 60.0)
        settings.setdefault('clonecache_driver', 'tests.test_lending.' + driver.__name__)
        if 'clonecache_socket' not in settings:
            settings['clonecache_socket'] = self.server.path
        return any_driver.ClonecacheDriver(
            db=db, host='host@b', configuration=self.configured(
                volume_backend_name='any', **settings))

    def clone(self, d, *args, **kwargs):
        """As ever, and the daemon has heard of it."""
        made = super().clone(d, *args, **kwargs)
        if isinstance(d, lending.LendingMixin):
            self.assertTrue(d._lending_later.wait(60), 'the daemon is not told')
        return made

    def image_volume(self, **more):
        """What Cinder has filled for the daemon."""
        made = self.volume(metadata={hook.ENTRY_KEY: 'e1'}, **more)
        with open(os.path.join(self.dir, made.name), 'w') as f:
            f.write('the image')
        return made

    def until(self, true):
        """Wait for what another thread does."""
        end = time.monotonic() + 60
        while not true():
            self.assertLess(time.monotonic(), end, 'it does not come')
            time.sleep(0.01)

    def content(self, volume):
        with open(os.path.join(self.dir, volume.name)) as f:
            return f.read()


class LentTest(LendingCase):
    def test_a_setting_puts_it_before_a_driver(self):
        d = self.before()
        self.assertIsInstance(d, CloningDriver)
        self.assertIsInstance(d, lending.LendingMixin)
        self.assertIs(type(d), type(self.before()))

    def test_a_class_in_one_line_does_the_same(self):
        class Mine(lending.LendingMixin, CloningDriver):
            pass
        d = Mine(db=db, host='host@b', configuration=self.configured(
            clonecache_socket=self.server.path, volume_backend_name='any'))
        self.assertEqual(({'provider_location': 'cloned'}, True), self.clone(d, self.volume()))

    def test_the_drivers_clone_is_the_volume(self):
        d, volume = self.before(), self.volume(size=2)
        self.assertEqual(({'provider_location': 'cloned'}, True), self.clone(d, volume))
        self.assertEqual('the image', self.content(volume))
        asked, = self.lender.asked
        self.assertEqual(PLACE, asked['place'])
        self.assertEqual(volume.name, asked['volume'])
        self.assertEqual((['made'], {}), (self.lender.ends, self.lender.loans))

    def test_the_volume_does_not_wait_until_the_daemon_has_heard_of_it(self):
        heard = threading.Event()

        def slow_to_hear(request):
            if request.method == 'PUT' and not heard.wait(60):
                return False
            return self.lender(request)
        self.server = self.serve(slow_to_hear)
        d, volumes = self.before(), [self.volume() for _ in range(3)]
        for volume in volumes:
            self.assertTrue(support.CinderCase.clone(self, d, volume)[1])
        self.assertEqual(([], 3), (self.lender.ends, len(self.lender.loans)))
        heard.set()
        self.assertTrue(d._lending_later.wait(60))
        self.assertEqual((['made'] * 3, {}), (self.lender.ends, self.lender.loans))

    def test_what_was_lent_last_is_read_while_the_daemon_is_asked(self):
        read, real = threading.Event(), objects.Volume.get_by_id
        reads = []

        def seen(context, volume_id):
            reads.append(volume_id)
            read.set()
            return real(context, volume_id)

        def answers_once_it_is_read(request):
            if request.method == 'POST' and self.lender.generations:
                self.assertTrue(read.wait(60), 'not read before the answer')
            return self.lender(request)
        self.server = self.serve(answers_once_it_is_read)
        d = self.before()
        with mock.patch.object(objects.Volume, 'get_by_id', seen), \
                mock.patch.object(guess, 'FRESH', 60.0):
            for _ in range(2):
                self.assertTrue(self.clone(d, self.volume())[1])
                read.clear()
        self.assertEqual([self.lender.generations[0][0].id] * 2, reads)
        read.set()
        self.lender.generations[0][0].destroy()
        self.assertTrue(self.clone(d, self.volume())[1])
        self.assertEqual(['made', 'made', 'gone', 'made'], self.lender.ends)

    def test_cinder_reads_every_format(self):
        for image in (dict(support.IMAGE, disk_format='vmdk'),
                      dict(support.IMAGE, container_format='compressed')):
            self.assertTrue(self.clone(self.before(), self.volume(), image)[1])

    def test_a_full_generation_is_given_back_and_the_next_one_cloned(self):
        d = self.before()
        with mock.patch.object(CloningDriver, 'limit', 1):
            for _ in range(3):
                self.assertTrue(self.clone(d, self.volume())[1])
        self.assertEqual(['made', 'full', 'made', 'full', 'made'], self.lender.ends)

    def test_a_thousand_volumes_of_a_driver_that_allows_32_clones(self):
        d, errors = self.before(), []
        volumes = [self.volume() for _ in range(1000)]
        todo = iter(list(volumes))
        lock = threading.Lock()

        def work():
            while True:
                with lock:
                    volume = next(todo, None)
                if volume is None:
                    return
                if self.clone(d, volume) != ({'provider_location': 'cloned'}, True):
                    errors.append(volume.name)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([], errors)
        self.assertEqual({}, self.lender.loans)
        self.assertEqual(32, len(self.lender.generations))
        self.assertEqual(1000, self.lender.ends.count('made'))
        self.assertEqual(0, self.lender.ends.count('not_made'))
        self.assertEqual(1000, sum(self.content(v) == 'the image' for v in volumes))


class NotLentTest(LendingCase):
    """Whatever goes wrong, the driver's own way is taken, and nothing is left of the clone."""

    def falls_back(self, d, volume=None):
        volume = volume or self.volume()
        with self.assertLogs(LOG, 'WARNING') as logged:
            self.assertEqual((None, False), self.clone(d, volume))
        self.assertNotIn(volume.name, self.left())
        return ''.join(logged.output)

    def test_a_half_clone_is_deleted_before_cinder_goes_on(self):
        d, volume = self.before(), self.volume()
        with mock.patch.object(CloningDriver, 'fails', OSError('the array is on fire')):
            said = self.falls_back(d, volume)
        self.assertIn('clone_failed', said)
        self.assertIn('the array is on fire', said)
        self.assertIsNone(volume.provider_location)
        self.assertEqual(['not_made'], self.lender.ends)

    def test_what_a_limit_has_left_is_deleted_too(self):
        d, volume = self.before(), self.volume()
        limit = exception.SnapshotLimitReached(set_limit=1)
        with mock.patch.object(CloningDriver, 'fails', limit), \
                mock.patch.object(lending, 'MOST_TRIES', 3):
            self.assertIn('clone_limit', self.falls_back(d, volume))
        self.assertEqual(['full'] * 3, self.lender.ends)

    def test_a_loan_goes_on_where_the_thread_is_killed(self):
        class Killed(BaseException):
            pass
        with mock.patch.object(CloningDriver, 'fails', Killed()):
            self.assertRaises(Killed, self.clone, self.before(), self.volume())
        self.assertEqual(([], 1), (self.lender.ends, len(self.lender.loans)))

    def test_an_image_volume_that_is_gone_is_asked_for_once_more(self):
        d = self.before()
        gone = self.image_volume()
        self.lender.generations.append([gone, False])
        gone.destroy()
        self.assertTrue(self.clone(d, self.volume())[1])
        self.assertEqual(['gone', 'made'], self.lender.ends)

    def test_one_on_another_backend_is_not_cloned(self):
        d = self.before()
        far = self.image_volume()
        far.host = 'host@other#b'
        far.save()
        self.lender.generations.append([far, False])
        self.assertIn('volume_differs', self.falls_back(d))
        self.assertEqual(['not_made'], self.lender.ends)

    def test_one_that_is_larger_is_not_cloned(self):
        self.lender.generations.append([self.image_volume(size=2), False])
        self.assertIn('volume_differs', self.falls_back(self.before()))

    def test_the_daemon_steps_aside(self):
        server = self.serve(lambda r: r.send(lines({'answer': {
            'outcome': 'bypassed', 'reason': 'over_quota', 'volume': r.json['volume']}})))
        self.server = server
        self.assertIn('over_quota', self.falls_back(self.before()))
        self.assertEqual(1, len(server.requests))

    def test_an_answer_without_a_loan_is_not_believed(self):
        for answer in ({}, {'outcome': 'hit'}, {'outcome': 'hit', 'loan': 'l', 'lent': ''},
                       {'outcome': 'copied', 'loan': 'l', 'lent': 'v'}):
            with self.subTest(answer=answer):
                self.server = self.serve(lambda r, a=answer: r.send(lines(
                    {'answer': dict(a, volume=r.json['volume'])})))
                self.assertIn('bad_answer', self.falls_back(self.before()))

    def test_a_daemon_that_does_not_hear_of_the_end_keeps_nobody(self):
        def deaf(request):
            if request.method == 'PUT':
                return False
            return self.lender(request)
        self.server = self.serve(deaf)
        volume = self.volume()
        with self.assertLogs(LOG, 'WARNING') as logged:
            self.assertTrue(self.clone(self.before(), volume)[1])
        self.assertIn('ends by itself', logged.output[0])
        self.assertEqual('the image', self.content(volume))


class SlowTest(LendingCase):
    """Arrays may copy for hours: the loan is renewed, and what was not is not believed."""

    def clone_while(self, slow, volume=None, every=0.01):
        self.lender.every = every
        d, volume = self.before(), volume or self.volume()
        with mock.patch.object(CloningDriver, 'slow', slow), \
                mock.patch.object(loan, 'TERMS', 1e6):  # a busy machine renews late
            return self.clone(d, volume)

    def renewed_often(self):
        for _ in range(5):
            self.assertTrue(self.lender.renewed.acquire(timeout=60), 'not renewed')

    def test_the_loan_is_renewed_for_as_long_as_the_driver_clones(self):
        update, made = self.clone_while(self.renewed_often)
        self.assertEqual(({'provider_location': 'cloned'}, True), (update, made))
        self.assertTrue(self.lender.asked[0]['renews'])
        self.assertEqual((['made'], {}), (self.lender.ends, self.lender.loans))

    def test_a_clone_of_what_may_have_gone_is_deleted(self):
        volume = self.volume()

        def ended_meanwhile():
            self.lender.loans.clear()
            self.assertTrue(self.lender.refused.acquire(timeout=60), 'not renewed')
        with self.assertLogs(LOG, 'WARNING') as logged:
            self.assertEqual((None, False), self.clone_while(ended_meanwhile, volume))
        self.assertIn('loan_ended', ''.join(logged.output))
        self.assertNotIn(volume.name, self.left())
        self.assertIsNone(volume.provider_location)

    def test_a_daemon_that_is_away_for_too_long_may_have_ended_it(self):
        gone = loan.Loan(mock.Mock(renew_loan=mock.Mock(side_effect=client.Unavailable('k', 'm'))),
                         {'loan': 'l', 'lent': 'v', 'renew_seconds': 10.0}, 0)
        for now, lives in ((9, True), (29, True), (30, False)):
            with mock.patch.object(loan.time, 'monotonic', lambda now=now: now), \
                    mock.patch.object(loan.LOG, 'warning'):
                self.assertEqual(lives, gone.lives(), now)

    def test_an_answer_that_was_read_late_is_renewed_first_or_asked_for_anew(self):
        self.lender.every = 1e-9  # so that it is late at once

        def ends_the_first(request):
            if request.path.endswith('/renew') and len(self.lender.asked) == 1:
                self.lender.loans.clear()
            return self.lender(request)
        self.server = self.serve(ends_the_first)
        d, volume = self.before(), self.volume()
        with mock.patch.object(loan, 'TERMS', 1e12):
            self.assertTrue(self.clone(d, volume)[1])
        self.assertEqual(['not_made', 'made'], self.lender.ends)
        self.assertEqual('the image', self.content(volume))


class ImageVolumeTest(LendingCase):
    def asked(self, answer):
        """A volume that says it is an image-volume, where the daemon says so of its tenant."""
        self.server = self.serve(lambda request: request.send(answer) or True)
        d = self.before()
        volume = self.volume(metadata={hook.ENTRY_KEY: 'e1'})
        self.assertEqual((None, False), self.clone(d, volume))
        return d, volume

    def metadata(self, volume):
        return objects.Volume.get_by_id(context.get_admin_context(), volume.id).metadata

    def test_it_is_left_to_the_driver_and_its_place_is_noted(self):
        d, volume = self.asked(reply(200, {'project_id': 'project'}))
        self.assertEqual(PLACE, self.metadata(volume)[lending.PLACE_KEY])
        self.clone(d, self.volume(metadata={hook.ENTRY_KEY: 'e1'}))
        self.assertEqual([('GET', '/v1/quota?use_only=true')],
                         [(r.method, r.path) for r in self.server.requests])

    def test_a_volume_of_another_project_is_not_told_where_it_lies(self):
        for answer in (reply(200, {'project_id': 'internal'}), reply(200, {}), reply(200, b'['),
                       reply(503, {'error': {'code': 'tenant_unavailable', 'message': 'm'}}),
                       reply(404, {})):
            with self.subTest(answer=answer), mock.patch.object(lending.LOG, 'warning'):
                _, volume = self.asked(answer)
                self.assertEqual({hook.ENTRY_KEY: 'e1'}, self.metadata(volume))

    def test_a_daemon_that_has_another_tenant_by_now_is_asked_again(self):
        d, _ = self.asked(reply(200, {'project_id': 'project'}))
        d._lending_project = 'former'
        volume = self.volume(metadata={hook.ENTRY_KEY: 'e1'})
        self.clone(d, volume)
        self.assertEqual(PLACE, self.metadata(volume)[lending.PLACE_KEY])

    def test_other_hooks_leave_it_to_the_driver_too(self):
        d = self.driver(self.server.path)
        volume = self.volume(metadata={hook.ENTRY_KEY: 'e1'})
        self.assertEqual((None, False), self.clone(d, volume))
        self.assertEqual([], self.server.requests)


class BegunAnewTest(LendingCase):
    def setup(self, **driver):
        heard = []

        def hears(request):
            heard.append((request.method, request.path, request.json))
            request.send(reply(200, {'ended': 1}))
            return True
        self.server = self.serve(hears)
        d = self.before()
        for name, value in driver.items():
            setattr(d, name, value)
        d.do_setup(self.context)
        return heard

    def test_loans_of_an_earlier_process_end(self):
        self.assertEqual([('PUT', '/v1/backends/any/loans',
                           {'place': 'host@b', 'end': 'not_made'})], self.setup())

    def test_others_of_a_cluster_keep_theirs(self):
        self.assertEqual([], self.setup(cluster_name='cluster@b'))

    def test_a_daemon_that_is_not_there_keeps_no_driver_from_its_start(self):
        d = self.before(clonecache_socket=os.path.join(self.dir, '.absent'))
        d.do_setup(self.context)


class SettingTest(LendingCase):
    def test_a_setting_that_names_no_driver_is_refused_with_the_remedy(self):
        for name, says in ((None, 'not set'), ('cinder.nowhere.Driver', 'nowhere'),
                           ('tests.support.Driver', 'already'),
                           ('clonecache_cinder.driver.ClonecacheDriver', 'already'),
                           ('clonecache_cinder.driver.before', 'no driver')):
            with self.subTest(name=name):
                with self.assertRaises(exception.InvalidInput) as raised:
                    self.before(clonecache_driver=name)
                self.assertIn(says, str(raised.exception))
                self.assertIn('LVMVolumeDriver', str(raised.exception))

    def test_the_stock_drivers_take_it(self):
        for name in ('cinder.volume.drivers.lvm.LVMVolumeDriver',
                     'cinder.volume.drivers.rbd.RBDDriver',
                     'cinder.volume.drivers.nfs.NfsDriver'):
            with self.subTest(name=name):
                stock = any_driver.named(name)
                made = any_driver.before(stock)
                self.assertTrue(issubclass(made, stock))
                self.assertEqual(stock.SUPPORTS_ACTIVE_ACTIVE, made.SUPPORTS_ACTIVE_ACTIVE)
                self.assertIs(stock.create_cloned_volume, made.create_cloned_volume)
                self.assertLessEqual({'clonecache_driver'},
                                     {o.name for o in made.get_driver_options()})
