"""What nobody needs to wait for is told all the same."""

import threading
import unittest
from unittest import mock

from clonecache_cinder import later


class LaterTest(unittest.TestCase):
    def test_told_in_order(self):
        told = []
        what = later.Later(told.append)
        for i in range(100):
            what.add(i)
        self.assertTrue(what.wait(30))
        self.assertEqual(list(range(100)), told)

    def test_told_where_no_thread_starts(self):
        told = []
        what = later.Later(told.append)
        with mock.patch.object(threading.Thread, 'start',
                               side_effect=RuntimeError("can't start new thread")):
            what.add(1)
        what.add(2)
        self.assertTrue(what.wait(30))
        self.assertEqual([1, 2], told)
