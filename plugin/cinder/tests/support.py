"""A real Cinder database, real volumes, and drivers to stand behind the hook."""

import os
import shutil
import tempfile
import threading
import unittest
import uuid

from cinder import context
from cinder import coordination
from cinder import db
from cinder import objects
from cinder.common import config  # noqa: F401 registers Cinder's options
from cinder.db import migration
from cinder.volume import configuration
from cinder.volume import driver
from oslo_config import cfg

from clonecache_cinder import hook
from clonecache_cinder import options
from tests import misbehaving

objects.register_all()
CONF = cfg.CONF

IMAGE = {'id': '5e1f6e4c-0000-4000-8000-000000000001', 'disk_format': 'raw',
         'container_format': 'bare', 'properties': {}}

_state = []


class Here(threading.local):
    """Where drivers that are made by their names have their volumes."""

    path = ''


here = Here()


def start_cinder():
    """Configure Cinder once a process: a database of its own, locks in a directory of its own."""
    if _state:
        return
    _state.append(tempfile.TemporaryDirectory(prefix='cinder-'))
    state = _state[0].name
    CONF([], project='cinder', default_config_files=[])
    CONF.set_override('connection', 'sqlite:///%s/cinder.db' % state, group='database')
    CONF.set_override('backend_url', 'file://%s' % state, group='coordination')
    CONF.set_override('state_path', state)
    CONF.set_override('lock_path', state, group='oslo_concurrency')
    CONF.set_override('host', 'host')
    migration.db_sync()
    coordination.COORDINATOR.start()


class DirectoryDriver(driver.BaseVD):
    """Its volumes are files in a directory. ``usual`` is what its clone_image returns."""

    usual = (None, False)

    def __init__(self, path, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.path = path

    def clone_image(self, *args):
        if isinstance(self.usual, Exception):
            raise self.usual
        return self.usual

    def unused(self, *args):
        raise NotImplementedError

    check_for_setup_error = create_volume = initialize_connection = terminate_connection = unused
    create_export = ensure_export = remove_export = unused

    def local_path(self, volume):
        return os.path.join(self.path, volume.name)

    def delete_volume(self, volume):
        if os.path.exists(self.local_path(volume)):
            os.remove(self.local_path(volume))


class Driver(hook.ClonecacheMixin, DirectoryDriver):
    """The hook before DirectoryDriver."""

    finished = {'provider_location': 'here'}

    def _clonecache_finish(self, volume):
        if isinstance(self.finished, Exception):
            raise self.finished
        return self.finished


class CinderCase(unittest.TestCase):
    """Has a database, a requester's context and a directory of volumes."""

    @classmethod
    def setUpClass(cls):
        start_cinder()

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='cc-')
        self.addCleanup(shutil.rmtree, self.dir)
        self.context = context.RequestContext('user', 'project', is_admin=True,
                                              auth_token='the-users-token')
        self.group = 'b' + uuid.uuid4().hex[:8]

    def configured(self, **settings):
        """A backend's section of cinder.conf."""
        made = configuration.Configuration(driver.volume_opts, config_group=self.group)
        made.append_config_values(options.OPTS)
        for name, value in settings.items():
            CONF.set_override(name, value, group=self.group)
            self.addCleanup(CONF.clear_override, name, group=self.group)
        return made

    def driver(self, socket, **settings):
        settings.setdefault('clonecache_connect_timeout', 60.0)
        return Driver(self.dir, db=db, host='host@b', configuration=self.configured(
            clonecache_socket=socket, volume_backend_name='files', **settings))

    def serve(self, post, ready=misbehaving.READY):
        server = misbehaving.Server(post, ready)
        self.addCleanup(server.stop)
        return server

    def volume(self, size=1, **more):
        made = objects.Volume(context=self.context, size=size, status='creating', host='host@b#b',
                              project_id='project', user_id='user', use_quota=True, **more)
        made.create()
        return made

    def clone(self, d, volume, image=IMAGE, location=(None, None)):
        return d.clone_image(self.context, volume, location, image, None)

    def left(self):
        """What lies where the volumes are."""
        return sorted(f for f in os.listdir(self.dir) if not f.startswith('.'))


def seen_by_users(volume):
    """Status and metadata as the API shows them now."""
    now = objects.Volume.get_by_id(context.get_admin_context(), volume.id)
    return now.status, dict(now.metadata)
