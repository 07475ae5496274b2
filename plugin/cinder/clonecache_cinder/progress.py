"""What the user sees while a volume waits for its image: downloading, and how far it is."""

import time

from oslo_log import log as logging

LOG = logging.getLogger(__name__)

KEY = 'image_cache_progress'

# A volume that is there before so many seconds shows nothing; then it is updated every EVERY
# seconds at most.
FIRST_AFTER = 1.0
EVERY = 3.0


class VolumeProgress:
    """Shows how far one volume is, in Cinder's database. What fails there is logged and ignored.

    It belongs to one thread. Close takes back what was shown.
    """

    def __init__(self, db, context, volume, clock=time.monotonic):
        self._db = db
        self._context = context
        self._volume = volume
        self._clock = clock
        self._next = clock() + FIRST_AFTER
        self._text = None
        self._status = None  # what the volume was before it was shown as downloading
        self._broken = False

    def show(self, progress):
        """Take a progress object of the API."""
        text = describe(progress)
        now = self._clock()
        if self._broken or text == self._text or now < self._next:
            return
        self._next = now + EVERY
        self._text = text
        self._guarded(self._write, text)

    def _write(self, text):
        if self._status is None:
            before = self._volume.status
            self._set_status('downloading')
            self._status = before
        self._db.volume_metadata_update(self._context, self._volume.id, {KEY: text}, False)

    def close(self, made):
        """Take back what was shown. Cinder itself sets the status of a volume that was made."""
        if self._text is None:
            return
        self._guarded(self._db.volume_metadata_delete, self._context, self._volume.id, KEY)
        if self._status is not None and not made:
            self._guarded(self._set_status, self._status)

    def _set_status(self, status):
        self._volume.update({'status': status})
        self._volume.save()

    def _guarded(self, call, *args):
        try:
            call(*args)
        except Exception:
            self._broken = True
            LOG.debug('progress of %s not shown', self._volume.id, exc_info=True)


def describe(progress):
    """'42%' where the total is known, else the MiB that were read."""
    read, total = _number(progress.get('read_bytes')), _number(progress.get('total_bytes'))
    if total > 0:
        return '%d%%' % min(100, 100 * read // total)
    return '%d MiB' % (read // (1 << 20))


def _number(value):
    return int(value) if isinstance(value, (int, float)) and value > 0 else 0
