"""ClonecacheNFSDriver: Cinder's real NFS driver on directories in place of mounts."""

import os
import unittest
from unittest import mock

from tests import support  # first: the drivers need Cinder's objects

from cinder import context
from cinder import db
from cinder import objects
from cinder.volume.drivers import nfs as cinder_nfs
from cinder.volume.drivers import remotefs

from clonecache_cinder import nfs
from tests import daemon
from tests.misbehaving import lines, made, reply

GIB = 1 << 30
SHARE, OTHER = '10.0.0.5:/srv/a', '10.0.0.5:/srv/b'


class NFSCase(support.CinderCase):
    def nfs_driver(self, socket, shares=(SHARE,), **settings):
        """A driver whose shares are directories, as if mounted."""
        listed = os.path.join(self.dir, '.shares')
        with open(listed, 'w') as f:
            f.write('\n'.join(shares))
        with mock.patch.object(cinder_nfs.remotefs_brick, 'RemoteFsClient'):
            configuration = self.configured(clonecache_socket=socket, volume_backend_name='nfs1')
            configuration.append_config_values(cinder_nfs.nfs_opts + remotefs.nas_opts)
            d = nfs.ClonecacheNFSDriver(db=db, host='host@b', configuration=configuration)
        settings = dict({'nfs_shares_config': listed, 'nas_secure_file_operations': 'true',
                         'nas_secure_file_permissions': 'true'}, **settings)
        for name, value in settings.items():
            support.CONF.set_override(name, value, group=self.group)
        d._execute_as_root = False
        d._remotefsclient.get_mount_point = self.mount
        return d

    def mount(self, share):
        path = os.path.join(self.dir, share.replace('/', '_'))
        os.makedirs(path, exist_ok=True)
        return path

    def makes(self, request, share=SHARE, size=None, mode=0o640):
        """Be a daemon that makes the file."""
        path = os.path.join(self.mount(share), request.json['volume'])
        with open(path, 'wb') as f:
            f.truncate(request.json['size_bytes'] if size is None else size)
        os.chmod(path, mode)
        request.send(lines(made(request.json)))


class NFSTest(NFSCase):
    def cloned(self, d, volume):
        self.assertEqual(({'provider_location': SHARE}, True), self.clone(d, volume))
        return os.stat(os.path.join(self.mount(SHARE), volume.name))

    def falls_back(self, d, kind):
        volume = self.volume()
        with self.assertLogs('clonecache_cinder', 'DEBUG') as logged:
            self.assertEqual((None, False), self.clone(d, volume))
        self.assertIn(': %s: ' % kind, logged.output[0])
        self.assertIsNone(volume.provider_location)
        self.assertFalse(os.path.exists(os.path.join(self.mount(SHARE), volume.name)))

    def test_the_file_is_opened_to_cinder(self):
        for secure, want in (('true', 0o100660), ('false', 0o100666)):
            with self.subTest(secure=secure):
                server = self.serve(self.makes)
                d = self.nfs_driver(server.path, nas_secure_file_permissions=secure)
                volume = self.volume()
                self.assertEqual(want, self.cloned(d, volume).st_mode)

    def test_cinder_knows_that_it_is_raw(self):
        d, volume = self.nfs_driver(self.serve(self.makes).path), self.volume()
        self.cloned(d, volume)
        seen = objects.Volume.get_by_id(context.get_admin_context(), volume.id)
        self.assertEqual('raw', seen.admin_metadata['format'])

    def test_a_file_that_is_not_in_the_share(self):
        server = self.serve(lambda r: self.makes(r, OTHER))
        self.falls_back(self.nfs_driver(server.path), 'volume_differs')
        self.assertEqual(1, len(server.deleted))

    def test_a_file_of_another_size(self):
        server = self.serve(lambda r: self.makes(r, size=5))
        self.falls_back(self.nfs_driver(server.path), 'volume_differs')

    def test_a_file_that_the_daemon_could_not_take_back(self):
        for answer in (lambda r: r.send(lines(
                {'answer': {'outcome': 'bypassed', 'reason': 'undelivered'}})),
                       lambda r: r.send(reply(409, {'error': {'code': 'volume_conflict'}}))):
            def leaves(request):
                open(os.path.join(self.mount(SHARE), request.json['volume']), 'wb').close()
                answer(request)
            d, volume = self.nfs_driver(self.serve(leaves).path), self.volume()
            self.assertEqual((None, False), self.clone(d, volume))
            self.assertEqual([], os.listdir(self.mount(SHARE)))

    def test_qcow2_volumes_are_left_to_cinder(self):
        server = self.serve(self.makes)
        self.falls_back(self.nfs_driver(server.path, nfs_qcow2_volumes=True), 'not_asked')
        self.assertEqual([], server.requests)

    def test_each_share_may_have_its_backend(self):
        server = self.serve(self.makes)
        pairs = ['hdd=' + OTHER, 'ssd=' + SHARE]
        d = self.nfs_driver(server.path, (SHARE, OTHER), clonecache_share_backends=pairs)
        with mock.patch.object(d, '_find_share', return_value=SHARE):
            self.cloned(d, self.volume())
        self.assertEqual('/v1/backends/ssd/volumes', server.requests[0].path)

    def test_a_share_without_a_backend_is_left_to_cinder(self):
        server = self.serve(self.makes)
        self.falls_back(self.nfs_driver(server.path, (SHARE, OTHER)), 'unknown_share')
        d = self.nfs_driver(server.path, clonecache_share_backends=['hdd=' + OTHER])
        self.falls_back(d, 'unknown_share')
        self.assertEqual([], server.requests)

    def test_no_share_has_room(self):
        d = self.nfs_driver(self.serve(self.makes).path)
        with mock.patch.object(d, '_is_share_eligible', return_value=False):
            self.falls_back(d, 'no_share')


@unittest.skipUnless(os.path.exists(daemon.PROGRAM), 'no clonecache program (make build)')
class NFSDaemonTest(NFSCase):
    def test_the_real_daemon_makes_files_that_cinder_takes(self):
        images = daemon.Images(os.urandom(1 << 20))
        self.addCleanup(images.stop)
        real = daemon.Daemon(self.mount(SHARE), images)
        self.addCleanup(real.remove)
        real.start()
        d = self.nfs_driver(real.socket, clonecache_backend='files')
        for size in (1, 2):
            volume = self.volume(size=size)
            self.assertEqual(({'provider_location': SHARE}, True), self.clone(d, volume))
            with open(d.local_path(volume), 'rb') as f:
                self.assertEqual(images.content, f.read(1 << 20))
                self.assertEqual(size * GIB, f.seek(0, os.SEEK_END))
            self.assertEqual(0o100660, os.stat(d.local_path(volume)).st_mode)
            d.delete_volume(volume)
            self.assertFalse(os.path.exists(d.local_path(volume)))
        self.assertEqual(1, images.gets)
