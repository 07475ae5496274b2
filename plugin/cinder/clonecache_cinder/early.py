"""A clone that the driver makes while the daemon is asked whether it may be had."""

import _thread
import queue
import threading
import time

from oslo_log import log as logging

LOG = logging.getLogger(__name__)


class Early:
    """One clone, begun before the daemon's answer, which is deleted unless it is taken.

    It belongs to the thread of the request, in which the driver clones. Only asking has a thread
    of its own. kept is cloned, as source says; loan is what the answer lends, and is renewed until
    the clone is taken or deleted.
    """

    def __init__(self, kept, source, clone, undo):
        """clone makes it and returns the model update.

        undo(update) deletes it, whole or half, and returns whether nothing is left of it.
        """
        self.source = source
        self.kept = kept
        self.loan = None
        self.took = 0.0
        self.stuck = False  # it is neither taken nor deleted
        self._clone = clone
        self._undo = undo
        self._update = None
        self._there = False
        self._done = threading.Event()

    def during(self, ask, lend):
        """A call like ask, during which the clone is made; lend makes a loan of the answer."""
        def both(*args, progress=None, **kwargs):
            heard = queue.Queue()

            def hear():
                try:
                    answer = ask(*args, progress=lambda p: heard.put(('progress', p)), **kwargs)
                    self._lend(lend(answer))
                    heard.put(('answer', answer))
                except BaseException as e:
                    heard.put(('error', e))
            _thread.start_new_thread(hear, ())  # Thread.start would wait until it runs
            try:
                self._make()
                return _wait(heard, progress)
            except BaseException:
                self._done.set()
                raise
        return both

    def _lend(self, loan):
        self.loan = loan
        if loan is not None:
            loan.renew_until(self._done)

    def _make(self):
        if not self.kept.begin():
            return
        begun = time.monotonic()
        self._there = True
        try:
            self._update = self._clone() or {}
        except Exception as e:
            LOG.info('image-volume %s is not cloned while the daemon is asked: %s',
                     self.source.id, e)
            self.undo()
        finally:
            self.kept.end()
        self.took = time.monotonic() - begun

    def take(self):
        """The model update of the clone, which stays; None where there is none."""
        self._done.set()
        if not self._there:
            return None
        self._there = False
        return self._update

    def undo(self):
        """Delete the clone, unless it was taken or is not there; the loan is renewed till then."""
        try:
            if self._there:
                self._there = False
                self.stuck = not self._undo(self._update or {})
        finally:
            self._done.set()

    def leave(self):
        """Let the loan end by itself: the request's thread is killed."""
        self._done.set()


def _wait(heard, progress):
    """The answer. Raises what asking has raised."""
    while True:
        kind, what = heard.get()
        if kind == 'answer':
            return what
        if kind == 'error':
            raise what
        if progress is not None:
            progress(what)
