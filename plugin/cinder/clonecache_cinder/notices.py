"""Why volumes went Cinder's way: said once aloud, with what to do, and then quietly."""

import threading
import time

from oslo_log import log as logging

LOG = logging.getLogger(__name__)

FELL_BACK = ("clonecache did not make %(volume)s on %(backend)s, which goes Cinder's way: "
             '%(kind)s: %(message)s')

# A reason that goes on is said aloud again after so many seconds.
AGAIN_AFTER = 600.0

# What to do about a reason. The daemon's own messages say it for the others.
REMEDIES = {
    'daemon_unreachable': "start clonecache, or correct clonecache_socket and the socket's group "
                          '(socket_group in clonecache.toml)',
    'daemon_not_ready': "see the daemon's log",
    'connection_lost': "see the daemon's log",
    'bad_answer': 'see that hook and daemon are of the same version',
    'deadline': "see the daemon's log; raise clonecache_timeout if images take that long",
    'unknown_backend': 'set clonecache_backend to a name that `clonecache backend list` shows',
    'bad_request': 'see that hook and daemon are of the same version, and that '
                   "clonecache_image_source names a source of clonecache's configuration",
    'image_ambiguous': "set clonecache_image_source to a source of clonecache's configuration",
    'over_quota': "raise the internal tenant's quota, or lower max_size and max_count",
    'no_internal_tenant': "create the internal tenant's project, user and role, or correct "
                          '[internal_tenant] in clonecache.toml',
    'tenant_unavailable': "see that Keystone and Cinder's API answer the daemon",
    'backend_mismatch': 'see that volumes of the volume_type in clonecache.toml land in the '
                        "backend's pool only",
    'backend_unavailable': "see the daemon's log, and whether the storage answers",
    'backend_full': 'delete volumes, or add storage',
    'no_room': 'raise max_size or max_count of the backend in clonecache.toml',
    'larger_than_cache': 'raise max_size of the backend in clonecache.toml',
    'cannot_clone': "configure a fallback for the backend in clonecache.toml",
    'scratch_full': 'raise scratch_max_size in clonecache.toml',
    'volume_differs': "let clonecache's backend and Cinder's use the same pool or share",
    'unsuitable': 'let volume_type of the backend in clonecache.toml be the type that most of its '
                  'volumes are of',
    'hook_error': "see cinder-volume's log; report it",
    'clone_failed': "see cinder-volume's log for what the driver says; the volume's image-volume "
                    'may be damaged: `clonecache entry delete` has it made anew',
    'loan_ended': "see the daemon's log: somebody has ended the loan (`clonecache loan end`), or "
                  'the daemon was away for longer than clone_time while the driver cloned',
    'clone_limit': 'set max_clones of the backend in clonecache.toml to what the driver allows',
    'unknown_share': 'name the share in clonecache_share_backends',
}

# Reasons that are nobody's fault and that no one must do anything about.
ORDINARY = ('filling', 'stopping', 'too_many_waiting', 'not_asked', 'encrypted')


class Notices:
    """Logs reasons, each kind aloud at most once in AGAIN_AFTER seconds. Threads may share it."""

    def __init__(self, backend, clock=time.monotonic):
        self._backend = backend
        self._clock = clock
        self._lock = threading.Lock()
        self._said = {}  # kind: when it was last said aloud
        self._quiet = {}  # kind: how often it came since

    def fell_back(self, volume, kind, message):
        """Log that a volume goes Cinder's way."""
        aloud, before = self._count(kind)
        detail = {'volume': volume, 'backend': self._backend, 'kind': kind, 'message': message}
        if not aloud:
            LOG.debug(FELL_BACK, detail)
            return
        detail['remedy'] = '; ' + REMEDIES[kind] if kind in REMEDIES else ''
        detail['before'] = ' (%d more since it was last said)' % before if before else ''
        LOG.warning(FELL_BACK + '%(remedy)s%(before)s', detail)

    def _count(self, kind):
        """Whether to say it aloud, and how often it was not."""
        if kind in ORDINARY:
            return False, 0
        now = self._clock()
        with self._lock:
            last = self._said.get(kind)
            if last is not None and now - last < AGAIN_AFTER:
                self._quiet[kind] = self._quiet.get(kind, 0) + 1
                return False, 0
            self._said[kind] = now
            return True, self._quiet.pop(kind, 0)
