"""What the daemon has lent, and that it stays for as long as the driver clones it."""

import threading
import time

from oslo_log import log as logging

from clonecache_cinder import client
from clonecache_cinder import hook

LOG = logging.getLogger(__name__)

# A loan lasts for so many of its renew_seconds after each renewal.
TERMS = 3


class Loan:
    """One loan of an image-volume. ``with`` it, a thread of its own renews it.

    asked is when the daemon was asked for it, in monotonic seconds: it lived then. A loan of an
    answer without renew_seconds is never renewed, and taken to live.
    """

    def __init__(self, daemon, answer, asked):
        self.id = answer['loan']
        self.lent = answer['lent']
        self._daemon = daemon
        self._every = answer.get('renew_seconds') or 0
        self._lived = asked
        self._ended = False
        self._done = None
        self.keeps = answer.get('keeps') is True  # the daemon lets it be kept for the next clone

    def lives(self):
        """Whether what is lent is surely there. The daemon is asked only if a renewal is due.

        It is not where the daemon says so, or has not answered for as long as a loan lasts.
        """
        if not self._every:
            return True
        if self._since() >= self._every:
            self._renew()
        return not self._ended and self._since() < TERMS * self._every

    def __enter__(self):
        self._done = threading.Event()
        self.renew_until(self._done)
        return self

    def __exit__(self, *exc):
        self._done.set()

    def renew_until(self, done):
        """Renew it by a thread of its own until done is set, or it has ended."""
        if self._every:
            threading.Thread(target=self._keep, args=(done,), daemon=True).start()

    def _since(self):
        return time.monotonic() - self._lived

    def _keep(self, done):
        pause = self._every
        while not done.wait(pause) and not self._ended:
            pause = self._every if self._renew() else self._every / 4

    def _renew(self):
        """Whether the daemon has answered."""
        now = time.monotonic()
        try:
            self._ended = not self._daemon.renew_loan(self.id) or self._ended
        except client.DaemonError as e:
            LOG.warning('loan %s is not renewed; it is tried again: %s', self.id, e)
            return False
        self._lived = now
        return True


class Ended(hook.Unsuitable):
    """A loan has ended under the driver's hands: the clone may be one of something else."""

    def __init__(self, loan):
        super().__init__('loan_ended', 'loan %s of image-volume %s ended before the clone was made'
                         % (loan.id, loan.lent))
