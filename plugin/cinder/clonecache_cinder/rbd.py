"""Cinder's RBD driver with clonecache before it."""

from cinder import interface
from cinder.volume.drivers import rbd
from oslo_utils import units

from clonecache_cinder import hook


@interface.volumedriver
class ClonecacheRBDDriver(hook.ClonecacheMixin, rbd.RBDDriver):
    """volume_driver = clonecache_cinder.rbd.ClonecacheRBDDriver"""

    _clonecache_seen = False

    def _clonecache_why_not(self, volume):
        # RBD mirrors a clone only if its parent is mirrored too.
        if self._is_replicated_type(volume.volume_type):
            return 'the volume type is replicated'
        return None

    def _clonecache_finish(self, volume):
        if not self._clonecache_seen:
            self._clonecache_look(volume)
        # QoS specs, multiattach: as for each new image. The daemon has grown it already.
        return self._setup_volume(volume) or {}

    def _clonecache_look(self, volume):
        """See once that both pools are the same; a look costs more than a clone."""
        try:
            with rbd.RBDVolumeProxy(self, volume.name, read_only=True) as image:
                size = image.size()
        except self.rbd.ImageNotFound as e:
            raise hook.Unsuitable('volume_differs', '%s is not in pool %s' % (
                volume.name, self.configuration.rbd_pool)) from e
        if size != volume.size * units.Gi:
            raise hook.Unsuitable('volume_differs', '%s has %d bytes' % (volume.name, size))
        self._clonecache_seen = True
