"""The part of the hook that all drivers share."""

import threading
import time

from cinder.objects import volume as volume_object
from cinder.volume import configuration
from oslo_config import cfg
from oslo_log import log as logging
from oslo_utils import units

from clonecache_cinder import client
from clonecache_cinder import notices
from clonecache_cinder import options
from clonecache_cinder import progress

LOG = logging.getLogger(__name__)

CONF = cfg.CONF
CONF.register_opts(options.OPTS, group=configuration.SHARED_CONF_GROUP)

# What oslo.messaging takes where executor_thread_pool_size is not set.
DEFAULT_POOL = 64

# As many as the daemon takes.
MAX_LOCATIONS = 16

# In the metadata of volumes that the daemon asks Cinder for.
ENTRY_KEY = 'clonecache_entry_id'

MADE = ('hit', 'filled', 'joined', 'direct', 'copied')
FORMATS = ('raw', 'qcow2')


class Unsuitable(Exception):
    """The hook's own reason not to use what the daemon could do, or did."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class Bypassed(Unsuitable):
    """The daemon steps aside. It made no volume."""


class ClonecacheMixin:
    """Stands before a volume driver: ``class D(ClonecacheMixin, RBDDriver)``.

    A driver says in _clonecache_why_not what it does not want, in _clonecache_place where the
    volume goes, and in _clonecache_finish what else the volume needs.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(options.OPTS)
        self._clonecache_waiting = Places()
        self._clonecache_notices = notices.Notices(self._clonecache_name())

    @classmethod
    def get_driver_options(cls):
        return super().get_driver_options() + options.OPTS

    def clone_image(self, context, volume, image_location, image_meta, image_service):
        """Let clonecache make the volume; else do what the driver does without it.

        What is no volume of Cinder's database is the driver's alone. It raises only what the
        driver's own clone_image raises.
        """
        if isinstance(volume, volume_object.Volume):
            update = self._clonecache_make(context, volume, image_location, image_meta)
            if update is not None:
                return update, True
        return super().clone_image(context, volume, image_location, image_meta, image_service)

    def _clonecache_make(self, context, volume, image_location, image_meta):
        """The volume's model update, or None: there is no volume, and the log says why.

        It raises nothing, whatever it is given: what it cannot do is left to the driver.
        """
        try:
            return self._clonecache_try(context, volume, image_location, image_meta)
        except Exception:
            LOG.exception('the clonecache hook failed; the volume goes the usual way')
            return None

    def _clonecache_try(self, context, volume, image_location, image_meta):
        name = volume.name
        try:
            why_not = (own(volume) or self._clonecache_unsuitable(image_meta) or
                       self._clonecache_why_not(volume))
            if why_not:
                raise Unsuitable('not_asked', why_not)
            return self._clonecache_ask(context, volume, image_location, image_meta)
        except (Unsuitable, client.DaemonError) as e:
            kind, message = e.kind, str(e)
        except Exception as e:
            LOG.exception('the clonecache hook failed for %s', name)
            kind, message = 'hook_error', str(e)
        # Outside of the handlers: oslo.log adds the exception that is being handled to each line.
        self._clonecache_notices.fell_back(name, kind, message)
        return None

    def _clonecache_ask(self, context, volume, image_location, image_meta):
        """Have the volume made. Raises Unsuitable, DaemonError; then nothing is left of it."""
        begun = time.monotonic()
        where = self._clonecache_place(volume)
        body = self._clonecache_body(volume, image_location, image_meta)
        try:
            answer = self._clonecache_send(context, volume, where, body)
            if answer.get('outcome') == 'bypassed':
                raise Bypassed(str(answer.get('reason')), str(answer.get('detail') or 'bypassed'))
            check_answer(answer, body)
            update = self._clonecache_finish(volume)
        except Bypassed:
            self._clonecache_vacate(volume)
            raise
        except client.DaemonError as e:
            if e.lost:
                self._clonecache_clear(volume, where)
            self._clonecache_vacate(volume)
            raise
        except Exception:
            self._clonecache_clear(volume, where)
            self._clonecache_vacate(volume)
            raise
        LOG.info('clonecache made %(volume)s of %(image)s: %(outcome)s in %(took).3f s',
                 {'volume': volume.name, 'image': body['image'], 'outcome': answer['outcome'],
                  'took': time.monotonic() - begun})
        return update

    def _clonecache_body(self, volume, image_location, image_meta):
        """What the daemon is told of the volume."""
        body = {'image': '%s:%s' % (self._clonecache_option('image_source'), image_meta['id']),
                'volume': volume.name, 'size_bytes': volume.size * units.Gi}
        if image_meta.get('virtual_size'):
            body['image_virtual_bytes'] = image_meta['virtual_size']
        known = rbd_locations(image_location)
        if known:
            body['image_locations'] = known
        if volume.volume_type_id:
            body['volume_type'] = volume.volume_type.name
        if volume.project_id:
            body['project_id'] = volume.project_id
        if volume.encryption_key_id:  # Cinder does not ask for these; whoever does is told why not
            body['encrypted'] = True
        return body

    def _clonecache_send(self, context, volume, where, body, timeout=None, call=None):
        """Ask, waiting for a fill only if there is a place among those who wait."""
        may_wait = self._clonecache_option('on_miss') == 'wait'
        with self._clonecache_waiting.take(self._clonecache_places() if may_wait else 0) as waits:
            body = dict(body, on_miss='wait' if waits else 'background')
            shown = progress.VolumeProgress(self.db, context, volume)
            made = False
            try:
                answer = (call or self._clonecache_call())(
                    where, body, token=getattr(context, 'auth_token', None),
                    timeout=self._clonecache_option('timeout') if timeout is None else timeout,
                    progress=shown.show if self._clonecache_option('progress') else None)
                made = answer.get('outcome') in MADE
                return answer
            finally:
                shown.close(made)

    def _clonecache_call(self):
        """How the daemon is asked."""
        return self._clonecache_daemon().create_volume

    def _clonecache_clear(self, volume, where):
        """Remove what the daemon may have left under the volume's name before Cinder uses it.

        The name is this volume's alone, so nothing else can bear it.
        """
        try:
            self._clonecache_daemon().delete_volume(where, volume.name)
        except client.DaemonError as e:
            LOG.debug('the daemon did not remove %s: %s', volume.name, e)
        try:
            self.delete_volume(volume)
        except Exception:
            LOG.exception('leftovers of %s not removed', volume.name)

    def _clonecache_vacate(self, volume):
        """See that Cinder finds nothing under the volume's name, once the daemon made no volume.

        Only for drivers that write into whatever bears the name; others are told that it is taken.
        """

    def _clonecache_daemon(self):
        return client.Daemon(self._clonecache_option('socket'),
                             self._clonecache_option('connect_timeout'))

    def _clonecache_option(self, name):
        return getattr(self.configuration, 'clonecache_' + name)

    def _clonecache_name(self):
        """This backend's name in clonecache's configuration."""
        return (self._clonecache_option('backend') or self.configuration.volume_backend_name or
                getattr(self.configuration, 'config_group', None))

    def _clonecache_places(self):
        """How many may wait: they must leave threads for the image-volumes they wait for."""
        try:
            pool = CONF.executor_thread_pool_size
        except cfg.NoSuchOptError:
            pool = DEFAULT_POOL
        wanted = self._clonecache_option('max_waiting')
        if wanted is None:
            return pool // 2
        if wanted >= pool:
            LOG.debug('clonecache_max_waiting is %d, which executor_thread_pool_size, %d, is not '
                      'above: half of the latter may wait', wanted, pool)
            return pool // 2
        return wanted

    def _clonecache_unsuitable(self, image_meta):
        """Why an image is left to Cinder, or None."""
        return unsuitable(image_meta)

    def _clonecache_why_not(self, volume):
        """Why the volume must not be a clone, or None."""
        return None

    def _clonecache_place(self, volume):
        """The name of the clonecache backend where the volume goes. Raises Unsuitable."""
        return self._clonecache_name()

    def _clonecache_finish(self, volume):
        """Do what the driver does with each new volume, and return its model update."""
        return {}


def own(volume):
    """Why a volume that the daemon itself has asked Cinder for is left to the driver, or None."""
    if ENTRY_KEY in (volume.metadata or {}):
        return 'it is an image-volume'
    return None


def check_answer(answer, body):
    """Raise Unsuitable where the answer is not about the volume that body asks for."""
    if answer.get('outcome') not in MADE:
        raise Unsuitable('bad_answer', 'unknown outcome %r' % answer.get('outcome'))
    for field in ('volume', 'size_bytes'):
        if answer.get(field) != body[field]:
            raise Unsuitable('bad_answer', '%s is %r, asked was %r' % (
                field, answer.get(field), body[field]))


def rbd_locations(image_location):
    """Where Cinder knows the image to lie in a Ceph cluster.

    image_location is what it hands to clone_image: (direct_url, locations), of which Glance may
    show either, both or none, and to a service's account more than to the requester's.
    """
    direct_url, locations = (tuple(image_location or ()) + (None, None))[:2]
    urls = [direct_url] + [place.get('url') for place in locations or ()]
    known = [url for url in urls if isinstance(url, str) and url.startswith('rbd://')]
    return list(dict.fromkeys(known))[:MAX_LOCATIONS]


def unsuitable(image_meta):
    """Why an image is left to Cinder, or None."""
    if image_meta.get('disk_format') not in FORMATS:
        return 'disk_format is %s' % image_meta.get('disk_format')
    if image_meta.get('container_format') != 'bare':
        return 'container_format is %s' % image_meta.get('container_format')
    properties = image_meta.get('properties') or {}
    if properties.get('cinder_encryption_key_id'):
        return 'the image is encrypted'
    if properties.get('img_signature') and CONF.verify_glance_signatures != 'disabled':
        return 'the image is signed, and Cinder verifies that (verify_glance_signatures)'
    return None


class Places:
    """Counts who waits. Threads share it."""

    def __init__(self):
        self._lock = threading.Lock()
        self._taken = 0

    def take(self, limit):
        """A context manager that is true inside if fewer than limit had taken a place."""
        return _Place(self, limit)

    def enter(self, limit):
        with self._lock:
            if self._taken >= limit:
                return False
            self._taken += 1
            return True

    def leave(self):
        with self._lock:
            self._taken -= 1


class _Place:
    def __init__(self, places, limit):
        self._places = places
        self._limit = limit
        self._has = False

    def __enter__(self):
        self._has = self._places.enter(self._limit)
        return self._has

    def __exit__(self, *exc):
        if self._has:
            self._places.leave()
