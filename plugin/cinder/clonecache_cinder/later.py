"""What nobody needs to wait for: it is told to the daemon in a thread of its own."""

import collections
import threading


class Later:
    """Calls tell(*what) for each what, in their order, by one thread that ends when all is told.

    tell raises nothing. Threads may share it. What is not told yet when the process dies is lost.
    """

    def __init__(self, tell):
        self._tell = tell
        self._lock = threading.Lock()
        self._waiting = collections.deque()
        self._idle = threading.Event()
        self._idle.set()

    def add(self, *what):
        with self._lock:
            self._waiting.append(what)
            if not self._idle.is_set():
                return
            self._idle.clear()
        try:
            threading.Thread(target=self._work, daemon=True).start()
        except RuntimeError:  # the process may have no more; who calls must not fail by that
            self._work()

    def wait(self, timeout):
        """Whether all is told within so many seconds."""
        return self._idle.wait(timeout)

    def _work(self):
        while True:
            with self._lock:
                if not self._waiting:
                    self._idle.set()
                    return
                what = self._waiting.popleft()
            self._tell(*what)
