"""Cinder's NFS driver with clonecache before it."""

import os
import stat

from cinder import exception
from cinder import interface
from cinder.volume.drivers import nfs
from oslo_log import log as logging
from oslo_utils import units

from clonecache_cinder import hook

LOG = logging.getLogger(__name__)


@interface.volumedriver
class ClonecacheNFSDriver(hook.ClonecacheMixin, nfs.NfsDriver):
    """volume_driver = clonecache_cinder.nfs.ClonecacheNFSDriver

    A clonecache backend of kind file covers one mounted share. The daemon makes the volume's file
    there, raw, by reflink or by copy; the hook gives it the permissions that Cinder wants.
    """

    def _clonecache_try(self, context, volume, image_location, image_meta):
        before = volume.provider_location
        update = super()._clonecache_try(context, volume, image_location, image_meta)
        if update is None:
            volume.provider_location = before
        return update

    def _clonecache_why_not(self, volume):
        if self.configuration.nfs_qcow2_volumes:
            return 'volumes are qcow2 files (nfs_qcow2_volumes)'
        return None

    def _clonecache_place(self, volume):
        share = self._clonecache_share(volume)
        volume.provider_location = share
        named = self._clonecache_option('share_backends')
        if not named:
            if len(self._mounted_shares) > 1:
                raise hook.Unsuitable('unknown_share', 'there are several shares')
            return self._clonecache_name()
        for pair in named:
            name, _, covered = pair.partition('=')
            if covered == share:
                return name
        raise hook.Unsuitable('unknown_share', 'no clonecache backend covers %s' % share)

    def _clonecache_share(self, volume):
        """The share that Cinder would choose."""
        try:
            self._ensure_shares_mounted()
            return self._find_share(volume)
        except exception.CinderException as e:
            raise hook.Unsuitable('no_share', str(e)) from e

    def _clonecache_finish(self, volume):
        path = self.local_path(volume)
        self._clonecache_open_to_cinder(path, volume)
        volume.admin_metadata['format'] = 'raw'
        with volume.obj_as_admin():
            volume.save()
        return {'provider_location': volume.provider_location}

    def _clonecache_vacate(self, volume):
        """Remove a file that the daemon made and could not take back.

        Cinder would write the image into that very file, which the daemon is about to remove.
        """
        path = self.local_path(volume)
        if not os.path.lexists(path):
            return
        LOG.warning('the daemon left %s, and made no volume; it is removed', path)
        try:
            self._delete(path)
        except Exception:
            LOG.exception('leftovers of %s not removed', volume.name)

    def _clonecache_open_to_cinder(self, path, volume):
        """See that the file is where Cinder looks for it, and set its permissions."""
        try:
            info = os.lstat(path)
        except OSError as e:
            raise hook.Unsuitable('volume_differs', 'not in the share: %s' % e) from e
        if not stat.S_ISREG(info.st_mode) or info.st_size != volume.size * units.Gi:
            raise hook.Unsuitable('volume_differs', '%s is not the file that was asked for' % path)
        wanted = 0o660
        if self.configuration.nas_secure_file_permissions != 'true':
            wanted = 0o666
        if stat.S_IMODE(info.st_mode) == wanted:
            return
        if info.st_uid == os.geteuid():
            os.chmod(path, wanted)
        else:
            self._set_rw_permissions(path)
