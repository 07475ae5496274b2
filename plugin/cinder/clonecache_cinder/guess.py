"""Reads from Cinder's database, while the daemon is asked, what the daemon will probably lend."""

import _thread
import threading
import time

from cinder import objects

# A volume that was read longer ago than so many seconds is read anew.
FRESH = 5.0


class Guess:
    """One volume, which a thread of its own reads from now on; context is that thread's alone."""

    def __init__(self, context, volume_id):
        self._context = context
        self._id = volume_id
        self._begun = time.monotonic()
        self._read = None
        self._done = threading.Event()
        _thread.start_new_thread(self._look, ())  # Thread.start would wait until it runs

    def volume(self, volume_id):
        """The volume, if it was the one that was guessed; else None, also if it is not there."""
        if volume_id != self._id or time.monotonic() - self._begun > FRESH:
            return None
        self._done.wait()
        return self._read

    def _look(self):
        try:
            self._read = objects.Volume.get_by_id(self._context, self._id)
        except Exception:
            self._read = None  # whoever needs it reads it again, and sees why
        finally:
            self._done.set()


class Guesses:
    """What was lent last, by image. Threads may share it."""

    MOST = 256

    def __init__(self):
        self._lock = threading.Lock()
        self._last = {}

    def note(self, image, volume_id):
        with self._lock:
            if len(self._last) >= self.MOST and image not in self._last:
                self._last.clear()
            self._last[image] = volume_id

    def begin(self, context, image):
        """A Guess, or None where nothing is known of the image."""
        with self._lock:
            last = self._last.get(image)
        return None if last is None else Guess(context.elevated(), last)
