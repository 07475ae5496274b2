"""The driver clones what is kept while the daemon is asked; only its yes makes a volume."""

import os
import shutil
import threading
import time
from unittest import mock

from tests import support  # first: the drivers need Cinder's objects
from tests import test_lending

from clonecache_cinder import kept as keeping
from clonecache_cinder import loan
from tests.misbehaving import lines, reply

CLONED = ({'provider_location': 'cloned'}, True)
NOT_MADE = (None, False)


class Keeper(test_lending.Lender):
    """The daemon's part, with loans that may be kept until ``recall`` is set."""

    def __init__(self, make):
        super().__init__(make)
        self.every = 30.0
        self.keeps = True
        self.recall = threading.Event()
        self.held = threading.Semaphore(0)  # released for each loan that begins to be kept
        self.began = threading.Event()  # the driver has begun its next clone
        self.cloned = threading.Event()  # and has ended it
        self.instead = None  # sent for an answer, once the driver has cloned

    def __call__(self, request):
        if request.path.endswith('/keep'):
            self.held.release()
            if not self.recall.wait(60):
                return False
            request.send(reply(204, b''))
            return True
        if request.path.endswith('/loans') and self.loans:
            # Something is kept: the answer waits for the driver, which cannot wait for it then.
            if not self.began.wait(60) or not self.cloned.wait(60):
                return False
            if self.instead is not None:
                return self.instead(request)
        return super().__call__(request)

    def lends(self, volume):
        """A generation that is lent from now on, instead of those before."""
        with self._lock:
            for g in self.generations:
                g[1] = True
            self.generations.append([volume, False])


class KeptCase(test_lending.LendingCase):
    def setUp(self):
        super().setUp()
        self.lender = Keeper(self.image_volume)
        self.server = self.serve(self.lender)
        self.addCleanup(self.lender.recall.set)
        self.d = self.before()
        self.order = []
        real = test_lending.CloningDriver.create_cloned_volume
        delete = test_lending.CloningDriver.delete_volume
        usual = test_lending.CloningDriver.clone_image

        def clones(d, volume, source):
            self.order.append('clone %s' % self.names.get(source.id, '?'))
            self.lender.began.set()
            try:
                return real(d, volume, source)
            finally:
                self.lender.cloned.set()

        def deletes(d, volume):
            self.order.append('delete')
            return delete(d, volume)

        def goes_on(d, *args):
            self.order.append('cinder')
            return usual(d, *args)
        for name, does in (('create_cloned_volume', clones), ('delete_volume', deletes),
                           ('clone_image', goes_on)):
            patched = mock.patch.object(test_lending.CloningDriver, name, does)
            patched.start()
            self.addCleanup(patched.stop)
        self.names = {}

    def keep(self):
        """Make a volume, after which what it was lent is kept."""
        self.assertEqual(CLONED, self.clone(self.d, self.volume()))
        self.assertTrue(self.lender.held.acquire(timeout=60))
        self.names[self.lender.generations[0][0].id] = 'a'
        self.lender.began.clear()
        self.lender.cloned.clear()
        self.order.clear()

    def other(self):
        """Another image-volume, lent from now on."""
        other = self.image_volume()
        with open(os.path.join(self.dir, other.name), 'w') as f:
            f.write('another image')
        self.names[other.id] = 'b'
        self.lender.lends(other)

    def answer(self, **answer):
        self.lender.instead = lambda r: r.send(lines({'answer': dict(
            answer, volume=r.json['volume'])})) or True


class KeptTest(KeptCase):
    def test_the_driver_clones_while_the_daemon_is_asked(self):
        self.keep()
        volume = self.volume()
        self.assertEqual(CLONED, self.clone(self.d, volume))
        self.assertEqual('the image', self.content(volume))
        self.assertEqual(['clone a'], self.order)
        self.assertEqual((['made'], 1), (self.lender.ends, len(self.lender.loans)))

    def test_nothing_is_kept_where_a_clone_takes_long(self):
        with mock.patch.object(keeping, 'QUICK', -1.0):
            self.assertEqual(CLONED, self.clone(self.d, self.volume()))
        self.until(lambda: self.lender.ends == ['made'])
        self.assertFalse(self.lender.held.acquire(blocking=False))

    def test_what_is_kept_is_given_back_when_it_is_asked_for(self):
        self.keep()
        self.lender.recall.set()
        self.until(lambda: self.lender.ends == ['made'])
        self.assertEqual({}, self.lender.loans)
        self.lender.recall.clear()
        self.assertEqual(CLONED, self.clone(self.d, self.volume()))  # nothing is kept: asked first
        self.assertTrue(self.lender.held.acquire(timeout=60))

    def test_it_is_given_back_only_once_nobody_clones_from_it(self):
        self.keep()
        mid, go = threading.Event(), threading.Event()

        def slow():
            mid.set()
            self.assertTrue(go.wait(60))
        with mock.patch.object(test_lending.CloningDriver, 'slow', slow), \
                mock.patch.object(keeping, 'RENEWED_EVERY', 0.01):
            made = []
            volume = self.volume()
            clone = threading.Thread(target=lambda: made.append(
                support.CinderCase.clone(self, self.d, volume)))
            clone.start()
            self.assertTrue(mid.wait(60))
            self.lender.recall.set()
            for _ in range(2):  # it is wanted back, and renewed meanwhile
                self.assertTrue(self.lender.renewed.acquire(timeout=60))
            self.assertEqual([], self.lender.ends)
            go.set()
            clone.join(60)
        self.assertEqual([CLONED], made)
        self.until(lambda: len(self.lender.ends) >= 1)

    def test_another_one_that_is_lent_is_cloned_anew(self):
        self.keep()
        self.other()
        volume = self.volume()
        self.assertEqual(CLONED, self.clone(self.d, volume))
        self.assertEqual('another image', self.content(volume))
        self.assertEqual(['clone a', 'delete', 'clone b'], self.order)

    def test_what_is_lent_no_more_is_cloned_in_vain_once(self):
        self.keep()
        self.other()
        self.assertEqual(CLONED, self.clone(self.d, self.volume()))
        self.assertTrue(self.lender.held.acquire(timeout=60))  # the other one
        self.order.clear()
        self.assertEqual(CLONED, self.clone(self.d, self.volume()))
        self.assertEqual(['clone b'], self.order)

    def test_what_is_lent_is_renewed_while_the_early_clone_is_deleted(self):
        self.keep()
        self.other()
        self.lender.every = 1.0
        delete, renewed = test_lending.CloningDriver.delete_volume, []

        def slow(d, volume):
            while self.lender.renewed.acquire(blocking=False):
                pass
            renewed.append(self.lender.renewed.acquire(timeout=60))
            return delete(d, volume)
        with mock.patch.object(test_lending.CloningDriver, 'delete_volume', slow), \
                mock.patch.object(loan, 'TERMS', 1e6):  # a busy machine renews late
            self.assertEqual(CLONED, self.clone(self.d, self.volume()))
        self.assertEqual([True], renewed)

    def test_nobody_renews_for_a_thread_that_was_killed(self):
        class Killed(BaseException):
            pass
        self.keep()
        self.lender.every = 0.05
        with mock.patch.object(self.d.__class__, '_lending_took', side_effect=Killed()):
            self.assertRaises(Killed, self.clone, self.d, self.volume())
        late = time.monotonic() + 60
        while self.lender.renewed.acquire(timeout=1):  # one may be under way
            self.assertLess(time.monotonic(), late, 'the loan is renewed on and on')

    def test_nothing_is_cloned_over_what_could_not_be_deleted(self):
        self.keep()
        self.other()
        volume = self.volume()
        with mock.patch.object(test_lending.CloningDriver, 'delete_volume',
                               side_effect=OSError('busy')):
            self.assertEqual(NOT_MADE, self.clone(self.d, volume))
        self.assertEqual(['clone a', 'cinder'], self.order)
        self.assertEqual(['not_made'], self.lender.ends)

    def test_one_that_was_moved_meanwhile_is_cloned_anew(self):
        self.keep()
        source = self.lender.generations[0][0]
        source.provider_location = 'elsewhere'
        source.save()
        self.assertEqual(CLONED, self.clone(self.d, self.volume()))
        self.assertEqual(['clone a', 'delete', 'clone a'], self.order)

    def test_a_driver_that_fails_is_tried_again_with_what_is_lent(self):
        self.keep()
        real, failed = shutil.copy, []

        def once(*args):
            real(*args)
            if not failed:
                failed.append(1)
                raise OSError('the array is on fire')
        volume = self.volume()
        with mock.patch.object(test_lending.shutil, 'copy', once):
            self.assertEqual(CLONED, self.clone(self.d, volume))
        self.assertEqual(['clone a', 'delete', 'clone a'], self.order)
        self.assertEqual('the image', self.content(volume))

    def test_one_that_is_full_is_given_back(self):
        self.keep()
        with mock.patch.object(test_lending.CloningDriver, 'limit', 1):
            self.assertEqual(CLONED, self.clone(self.d, self.volume()))
        self.assertIn('full', self.lender.ends)
        self.assertEqual('clone ?', self.order[-1])
        self.assertTrue(self.lender.held.acquire(timeout=60), 'the next one is not kept')

    def test_as_many_as_may_be_are_kept(self):
        with mock.patch.object(keeping, 'MOST', 0):
            self.assertEqual(CLONED, self.clone(self.d, self.volume()))
        self.assertEqual((['made'], {}), (self.lender.ends, self.lender.loans))

    def test_what_is_old_is_replaced(self):
        self.keep()
        with mock.patch.object(keeping, 'REPLACED_AFTER', 0.0):
            self.assertEqual(CLONED, self.clone(self.d, self.volume()))
        self.assertTrue(self.lender.held.acquire(timeout=60))
        self.assertEqual(([], 2), (self.lender.ends, len(self.lender.loans)))
        self.lender.recall.set()
        self.until(lambda: not self.lender.loans)

    def test_ten_at_once(self):
        self.keep()
        volumes, made = [self.volume() for _ in range(10)], []
        threads = [threading.Thread(target=lambda v=v: made.append(self.clone(self.d, v)))
                   for v in volumes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([CLONED] * 10, made)
        self.assertEqual(['clone a'] * 10, self.order)
        self.assertEqual(['the image'] * 10, [self.content(v) for v in volumes])


class NoYesTest(KeptCase):
    """Without the daemon's yes nothing is left of the clone, before Cinder goes on."""

    def undone(self):
        self.keep()
        volume = self.volume()
        self.assertEqual(NOT_MADE, self.clone(self.d, volume))
        self.assertEqual(['clone a', 'delete', 'cinder'], self.order)
        self.assertNotIn(volume.name, self.left())
        self.assertIsNone(volume.provider_location)

    def test_the_requester_may_not_have_the_image(self):
        self.lender.instead = lambda r: r.send(reply(403, {'error': {
            'code': 'image_forbidden', 'message': 'not yours'}})) or True
        self.undone()

    def test_the_daemon_steps_aside(self):
        self.answer(outcome='bypassed', reason='over_quota')
        self.undone()

    def test_the_daemon_dies(self):
        self.lender.instead = lambda r: False
        self.undone()

    def test_an_answer_that_is_not_to_be_believed(self):
        self.answer(outcome='hit', loan='l')
        self.undone()

    def test_the_drivers_clone_fails_too(self):
        self.keep()
        with mock.patch.object(test_lending.CloningDriver, 'fails', OSError('no')):
            volume = self.volume()
            self.assertEqual(NOT_MADE, self.clone(self.d, volume))
        self.assertEqual(['clone a', 'delete', 'clone a', 'delete', 'cinder'], self.order)
        self.assertNotIn(volume.name, self.left())

    def test_the_thread_is_killed(self):
        class Killed(BaseException):
            pass
        self.keep()
        with mock.patch.object(test_lending.CloningDriver, 'fails', Killed()):
            self.assertRaises(Killed, self.clone, self.d, self.volume())
        self.assertEqual([], self.lender.ends)
