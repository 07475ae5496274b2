"""ClonecacheRBDDriver: Cinder's real RBD driver, with a librbd that only notes what is done."""

from unittest import mock

from tests import support  # first: the drivers need Cinder's objects

from cinder import db
from cinder import objects
from cinder.volume.drivers import rbd as cinder_rbd
from oslo_config import cfg

from clonecache_cinder import rbd
from tests.misbehaving import lines, made, reply

GIB = 1 << 30


class Librbd:
    """What the driver uses of rados and rbd. ``images`` maps a name to size and features."""

    RBD_FEATURE_LAYERING = 1
    RBD_FEATURE_EXCLUSIVE_LOCK = 4
    RBD_FEATURE_OBJECT_MAP = 8
    RBD_FEATURE_FAST_DIFF = 16
    RBD_FEATURE_JOURNALING = 64

    class Error(Exception):
        pass

    class ImageNotFound(Error):
        pass

    class ImageBusy(Error):
        pass

    class ImageHasSnapshots(Error):
        pass

    def __init__(self):
        self.images = {}
        self.opened = 0

    def Image(self, ioctx, name, snapshot=None, read_only=False):
        if name not in self.images:
            raise self.ImageNotFound(name)
        self.opened += 1
        return OpenImage(self.images, name)

    def RBD(self):
        return self

    def remove(self, ioctx, name):
        if self.images.pop(name, None) is None:
            raise self.ImageNotFound(name)


class OpenImage:
    def __init__(self, images, name):
        self._images, self._name = images, name

    def size(self):
        return self._images[self._name]['size']

    def features(self):
        return self._images[self._name]['features']

    def update_features(self, which, on):
        image = self._images[self._name]
        image['features'] = image['features'] | which if on else image['features'] & ~which

    def list_snaps(self):
        return []

    def parent_info(self):
        return 'pool', 'clonecache-1', 'clonecache'

    def close(self):
        pass


class Rados:
    """A cluster to which everybody is connected."""

    class Error(Exception):
        pass

    def Rados(self, **_):
        return mock.Mock()


class RBDTest(support.CinderCase):
    def setUp(self):
        super().setUp()
        self.librbd = Librbd()

    def rbd_driver(self, post=None, daemons_pool=None):
        """A driver, and a daemon that makes images in daemons_pool; default: the driver's own."""
        pool = self.librbd.images if daemons_pool is None else daemons_pool

        def makes(request):
            pool[request.json['volume']] = {'size': request.json['size_bytes'], 'features': 61}
            request.send(lines(made(request.json)))
        self.server = self.serve(post or makes)
        d = rbd.ClonecacheRBDDriver(
            db=db, host='host@b', rados=Rados(), rbd=self.librbd, configuration=self.configured(
                clonecache_socket=self.server.path, volume_backend_name='rbd1'))
        patched = mock.patch.object(d, '_get_clone_info', return_value=(None, None, None))
        patched.start()
        self.addCleanup(patched.stop)
        return d

    def typed(self, **specs):
        """A volume whose type has these extra specs."""
        made_type = objects.VolumeType(
            context=self.context, name=self.id() + str(specs), is_public=True, projects=[],
            description='', extra_specs=specs)
        made_type.create()
        return self.volume(volume_type_id=made_type.id)

    def test_a_clone_is_taken_as_it_is(self):
        d, volume = self.rbd_driver(), self.volume(size=2)
        self.assertEqual(({}, True), self.clone(d, volume))
        self.assertEqual({'size': 2 * GIB, 'features': 61}, self.librbd.images[volume.name])

    def test_only_the_first_one_is_looked_at(self):
        d = self.rbd_driver()
        for _ in range(3):
            self.assertTrue(self.clone(d, self.volume())[1])
        self.assertEqual(1, self.librbd.opened)

    def test_another_pool_is_noticed(self):
        elsewhere = {}
        d, volume = self.rbd_driver(daemons_pool=elsewhere), self.volume()
        with self.assertLogs('clonecache_cinder', 'WARNING') as logged:
            self.assertEqual(({}, False), self.clone(d, volume))
        self.assertIn('volume_differs', logged.output[0])
        self.assertEqual(1, len(self.server.deleted), 'the daemon removes it where it made it')

    def test_a_multiattach_type_has_its_features(self):
        d, volume = self.rbd_driver(), self.typed(multiattach='<is> True')
        update, cloned = self.clone(d, volume)
        self.assertTrue(cloned)
        self.assertEqual({'provider_location': '{"saved_features":61}'}, update)
        layering_and_deep_flatten = 33
        self.assertEqual(layering_and_deep_flatten, self.librbd.images[volume.name]['features'])

    def test_a_replicated_type_is_not_asked_for(self):
        d, volume = self.rbd_driver(), self.typed(replication_enabled='<is> True')
        self.assertEqual(({}, False), self.clone(d, volume))
        self.assertEqual([], self.server.requests)

    def test_one_that_cannot_be_set_up_is_removed(self):
        d, volume = self.rbd_driver(), self.typed(multiattach='<is> True')
        with mock.patch.object(OpenImage, 'update_features', side_effect=Librbd.Error('no')):
            with self.assertLogs('clonecache_cinder', 'WARNING') as logged:
                self.assertEqual(({}, False), self.clone(d, volume))
        self.assertIn('hook_error', ''.join(logged.output))
        self.assertEqual({}, self.librbd.images)

    def test_without_the_daemon_an_image_in_ceph_is_still_cloned_by_cinder(self):
        d, volume = self.rbd_driver(lambda r: r.send(reply(500, b''))), self.volume()
        where = ('rbd://fsid/images/i/snap', [{'url': 'rbd://fsid/images/i/snap'}])
        with mock.patch.object(d, '_is_cloneable', return_value=True), \
                mock.patch.object(d, '_clone', return_value={}) as cloned, \
                mock.patch.object(d, '_resize'):
            answer = d.clone_image(self.context, volume, where, support.IMAGE, None)
        self.assertEqual(({'provider_location': None}, True), answer)
        cloned.assert_called_once_with(volume, 'images', 'i', 'snap')

    def test_the_options_are_those_of_the_driver_and_the_hooks(self):
        names = {o.name for o in rbd.ClonecacheRBDDriver.get_driver_options()}
        self.assertLessEqual({'rbd_pool', 'clonecache_socket'}, names)
        self.assertIsNone(cfg.CONF.backend_defaults.clonecache_max_waiting)

    def test_it_is_the_rbd_driver(self):
        self.assertTrue(issubclass(rbd.ClonecacheRBDDriver, cinder_rbd.RBDDriver))
