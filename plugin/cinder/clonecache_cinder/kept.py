"""What stays lent after a hit, so that the next clone of the image can begin at once."""

import threading
import time

from oslo_log import log as logging

LOG = logging.getLogger(__name__)

# What is kept for longer than so many seconds is replaced by what the next hit was lent.
REPLACED_AFTER = 30.0

# What is given back while a driver clones from it is renewed so often, in seconds.
RENEWED_EVERY = 2.0

# Of drivers whose clones take more seconds than that, as copies do, nothing is kept: asking takes
# little beside it, and a request that is refused would wait for a whole clone in vain.
QUICK = 5.0

# How many image-volumes are kept at a time: each has a thread and a connection.
MOST = 64


class Kept:
    """One image-volume that is kept. Threads may share it."""

    def __init__(self, loan, source):
        self.loan = loan
        self._source = source
        self._since = time.monotonic()
        self._lock = threading.Lock()
        self._users = 0
        self._idle = threading.Event()
        self._idle.set()
        self._over = False

    @property
    def lent(self):
        return self._source.id

    def source(self, context):
        """The image-volume as it was when it was lent; the caller's own."""
        mine = self._source.obj_clone()
        mine._context = context
        return mine

    def is_old(self):
        return time.monotonic() - self._since > REPLACED_AFTER

    def begin(self):
        """Whether the caller may clone from it, until it calls end."""
        with self._lock:
            if self._over:
                return False
            self._users += 1
            self._idle.clear()
            return True

    def end(self):
        with self._lock:
            self._users -= 1
            if not self._users:
                self._idle.set()

    def over(self):
        """Let nobody begin any more."""
        with self._lock:
            self._over = True

    def idle(self, timeout):
        """Whether nobody clones from it, within so many seconds."""
        return self._idle.wait(timeout)


class Shelf:
    """What is kept, by whatever tells images, places and types apart. Threads may share it.

    It ends with the process: the daemon keeps nothing for who has hung up.
    """

    def __init__(self, daemon, give_back):
        """daemon makes a client; give_back(loan) ends a loan, and raises nothing."""
        self._daemon = daemon
        self._give_back = give_back
        self._lock = threading.Lock()
        self._all = {}
        self._busy = 0  # threads that hold something, also what was replaced

    def look(self, key):
        """What is kept, or None."""
        with self._lock:
            return self._all.get(key)

    def keep(self, key, loan, source, took):
        """Keep what is lent, once it was cloned in so many seconds, instead of ending the loan.

        Whether it is kept.
        """
        if took > QUICK:
            return False
        with self._lock:
            now = self._all.get(key)
            if self._busy >= MOST or now is not None and not now.is_old():
                return False
            kept = self._all[key] = Kept(loan, source)
            self._busy += 1
        try:
            threading.Thread(target=self._hold, args=(key, kept), daemon=True).start()
        except RuntimeError:  # the process may have no more
            self.drop(key, kept)
            self._left()
            return False
        return True

    def drop(self, key, kept):
        """Let nobody begin to clone from it any more."""
        kept.over()
        with self._lock:
            if self._all.get(key) is kept:
                del self._all[key]

    def _left(self):
        with self._lock:
            self._busy -= 1

    def _hold(self, key, kept):
        """Hold it until the daemon wants it back, and give it back once nobody clones from it."""
        try:
            self._daemon().keep_loan(kept.loan.id)
        except Exception as e:
            LOG.debug('loan %s of image-volume %s is kept no more: %s', kept.loan.id, kept.lent, e)
        self.drop(key, kept)
        while not kept.idle(RENEWED_EVERY):
            try:
                self._daemon().renew_loan(kept.loan.id)
            except Exception as e:
                LOG.debug('loan %s is not renewed: %s', kept.loan.id, e)
        self._give_back(kept.loan)
        self._left()
