"""Waiting hooks hold up nobody else in cinder-volume's process."""

import json
import os
import subprocess
import sys
import threading
import unittest

from tests import misbehaving
from tests.misbehaving import lines, made

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WAITING = 20


class EventletTest(unittest.TestCase):
    def test_other_green_threads_run_while_hooks_wait(self):
        """No hook is answered before all of them wait, so they cannot have waited in turn."""
        all_wait = threading.Barrier(WAITING + 1)

        def post(request):
            all_wait.wait(timeout=90)
            all_wait.wait(timeout=90)
            request.send(lines(made(request.json)))
        server = misbehaving.Server(post)
        self.addCleanup(server.stop)
        child = subprocess.Popen(
            [sys.executable, '-m', 'tests.green_child', server.path, str(WAITING)], cwd=TOP,
            stdout=subprocess.PIPE)
        self.addCleanup(child.stdout.close)
        all_wait.wait(timeout=90)
        threading.Event().wait(2)  # the time in which the others are seen to run
        all_wait.wait(timeout=90)
        said, _ = child.communicate(timeout=90)
        told = json.loads(said)
        self.assertEqual(['hit'] * WAITING, told['outcomes'])
        self.assertGreater(told['turns'], 10)

    def test_an_answer_that_came_while_the_process_stood_still_is_read(self):
        """The daemon counts it as delivered; giving up would leave a volume under its name."""
        child = []
        started = threading.Event()

        def post(request):
            started.wait(timeout=90)
            child[0].stdin.write(b'x')
            child[0].stdin.close()
            threading.Event().wait(0.2)  # the time in which the child comes to stand still
            request.send(lines(made(request.json)))
        server = misbehaving.Server(post)
        self.addCleanup(server.stop)
        child.append(subprocess.Popen(
            [sys.executable, '-m', 'tests.blocked_child', server.path, '4'], cwd=TOP,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        self.addCleanup(child[0].stdout.close)
        started.set()
        said = child[0].stdout.read()
        self.assertEqual(0, child[0].wait(timeout=90))
        self.assertEqual('hit', said.decode().strip())
