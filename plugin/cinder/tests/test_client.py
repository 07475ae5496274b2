"""The client against servers that keep the protocol and servers that do not."""

import calendar
import os
import socket
import tempfile
import threading
import time
import unittest
from unittest import mock

from clonecache_cinder import client
from tests import misbehaving
from tests.misbehaving import CHUNKED, READY, chunk, lines, made, reply

BODY = {'image': 'glance:1', 'volume': 'volume-1', 'size_bytes': 1 << 30}

# How many seconds an answer is waited for that comes: this machine may be busy. And for one that
# does not come.
PATIENCE = 60.0
BRIEF = 0.3


class ClientCase(unittest.TestCase):
    def setUp(self):
        patched = mock.patch.object(client, 'GRACE', 0.1)
        patched.start()
        self.addCleanup(patched.stop)

    def serve(self, post, ready=READY):
        server = misbehaving.Server(post, ready)
        self.addCleanup(server.stop)
        return server

    def ask(self, path, patience=PATIENCE, timeout=PATIENCE, **more):
        return client.Daemon(path, patience).create_volume('rbd1', BODY, timeout=timeout, **more)

    def fails(self, path, error, kind, **more):
        """Asking fails with this error, in time."""
        begun = time.monotonic()
        with self.assertRaises(error) as caught:
            self.ask(path, **more)
        self.assertEqual(kind, caught.exception.kind)
        self.assertLess(time.monotonic() - begun, PATIENCE / 2)
        return caught.exception

    def is_late(self, path):
        """Asking fails since the time is over."""
        return self.fails(path, client.GaveUp, 'deadline', timeout=BRIEF)


class AnswerTest(ClientCase):
    def test_an_answer_is_returned(self):
        server = self.serve(lambda r: r.send(lines(made(r.json))))
        self.assertEqual('hit', self.ask(server.path)['outcome'])

    def test_the_request_is_what_the_api_wants(self):
        server = self.serve(lambda r: r.send(lines(made(r.json))))
        before = time.time()
        self.ask(server.path, token='secret', timeout=100.0)
        request, = server.requests
        self.assertEqual(('POST', '/v1/backends/rbd1/volumes'), (request.method, request.path))
        self.assertEqual('secret', request.headers['x-auth-token'])
        self.assertEqual('application/x-ndjson', request.headers['accept'])
        deadline, rest = request.json.pop('deadline').split('.')
        seconds = calendar.timegm(time.strptime(deadline, '%Y-%m-%dT%H:%M:%S'))
        self.assertRegex(rest, r'^\d{3}Z$')
        self.assertTrue(before + 99 <= seconds <= time.time() + 100, seconds - before)
        self.assertEqual(BODY, request.json)

    def test_without_a_token_none_is_sent(self):
        server = self.serve(lambda r: r.send(lines(made(r.json))))
        self.ask(server.path)
        self.assertNotIn('x-auth-token', server.requests[0].headers)

    def test_progress_is_handed_on(self):
        server = self.serve(lambda r: r.send(lines(
            {'progress': {'read_bytes': 1}}, {'progress': {'read_bytes': 2}}, made(r.json))))
        seen = []
        self.ask(server.path, progress=seen.append)
        self.assertEqual([{'read_bytes': 1}, {'read_bytes': 2}], seen)

    def test_the_connection_is_closed_after_each_call(self):
        server = self.serve(lambda r: r.send(lines(made(r.json))) or True)
        self.ask(server.path)
        self.assertTrue(server.closed.acquire(timeout=PATIENCE))

    def test_the_connection_is_closed_when_the_caller_fails(self):
        server = self.serve(lambda r: r.send(lines({'progress': {}}, made(r.json))) or True)
        with self.assertRaises(ZeroDivisionError):
            self.ask(server.path, progress=lambda p: 1 / 0)
        self.assertTrue(server.closed.acquire(timeout=PATIENCE))


class UnavailableTest(ClientCase):
    """Nothing that could make a volume is sent to a daemon that is not there."""

    def setUp(self):
        super().setUp()
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def path(self, name='s'):
        return os.path.join(self.dir.name, name)

    def test_no_socket(self):
        self.fails(self.path(), client.Unavailable, 'daemon_unreachable')

    def test_a_file_in_its_place(self):
        open(self.path(), 'w').close()
        self.fails(self.path(), client.Unavailable, 'daemon_unreachable')

    def test_a_path_that_is_too_long(self):
        self.fails(self.path('x' * 200), client.Unavailable, 'daemon_unreachable')

    def test_a_dead_socket(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path())
        self.fails(self.path(), client.Unavailable, 'daemon_unreachable')

    def test_one_that_listens_and_never_accepts(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path())
            listener.listen(1)
            self.fails(self.path(), client.Unavailable, 'daemon_unreachable', patience=BRIEF)

    def test_one_that_is_starting(self):
        server = self.serve(None, reply(503, {'error': {'code': 'starting', 'message': 'wait'}}))
        self.fails(server.path, client.Unavailable, 'daemon_not_ready')
        self.assertEqual([], server.requests)

    def test_one_that_says_nothing(self):
        server = self.serve(None, lambda r: r.until_closed())
        self.fails(server.path, client.Unavailable, 'daemon_unreachable', patience=BRIEF)
        self.assertEqual([], server.requests)

    def test_one_that_speaks_a_byte_at_a_time(self):
        def drip(request):
            for byte in READY * 100:
                request.send(bytes([byte]))
                time.sleep(0.05)
        server = self.serve(None, drip)
        self.fails(server.path, client.Unavailable, 'daemon_unreachable', patience=BRIEF)

    def test_one_that_speaks_something_else(self):
        server = self.serve(None, lambda r: r.send(b'220 mail.example.org ESMTP\r\n'))
        self.fails(server.path, client.Unavailable, 'daemon_unreachable')

    def test_one_that_closes_after_it_was_ready_is_asked_anew(self):
        answer = b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'
        server = self.serve(lambda r: r.send(lines(made(r.json))), lambda r: r.send(answer))
        self.assertEqual('hit', self.ask(server.path)['outcome'])


class RefusedTest(ClientCase):
    def test_an_error_as_a_line(self):
        server = self.serve(lambda r: r.send(lines(
            {'progress': {}}, {'error': {'code': 'image_not_found', 'message': 'no'}})))
        error = self.fails(server.path, client.Refused, 'image_not_found')
        self.assertFalse(error.lost)

    def test_an_error_as_a_status(self):
        server = self.serve(lambda r: r.send(reply(404, {'error': {
            'code': 'unknown_backend', 'message': 'no'}})))
        self.fails(server.path, client.Refused, 'unknown_backend')

    def test_a_status_without_a_reason(self):
        for body in (b'<html>', b'[]', b'{"error": 7}', b'', b'\xff\xfe'):
            with self.subTest(body=body):
                server = self.serve(lambda r, body=body: r.send(reply(500, body)))
                self.fails(server.path, client.Refused, 'bad_answer')


class LateTest(ClientCase):
    """A daemon that does not answer in time is not waited for, and may have made a volume."""

    def test_no_answer_begins(self):
        server = self.serve(lambda r: r.until_closed())
        self.assertTrue(self.is_late(server.path).lost)

    def test_what_has_arrived_is_read_after_the_time(self):
        class Late(client.Daemon):
            """Looks at its connection only when the time is over."""

            def _create(self, connection, *args):
                getresponse = connection.getresponse

                def after_the_time():
                    sent.wait(PATIENCE)
                    connection.bound(time.monotonic() - 1)
                    return getresponse()
                connection.getresponse = after_the_time
                return super()._create(connection, *args)
        sent = threading.Event()
        server = self.serve(lambda r: r.send(lines(made(r.json))) or sent.set())
        with mock.patch.object(client, 'GRACE', -1.0 - PATIENCE):
            answer = Late(server.path, PATIENCE).create_volume('rbd1', BODY, timeout=PATIENCE)
        self.assertEqual('hit', answer['outcome'])

    def test_a_daemon_that_never_stops_sending_is_not_read_without_end(self):
        def forever(request):
            request.send(CHUNKED)
            block = chunk(b'{"progress": {}}\n') * 4096
            while True:
                request.send(block)
        self.is_late(self.serve(forever).path)

    def test_no_line_comes(self):
        server = self.serve(lambda r: r.send(CHUNKED) or r.until_closed())
        self.is_late(server.path)

    def test_progress_never_ends(self):
        def forever(request):
            request.send(CHUNKED)
            while True:
                request.send(chunk(b'{"progress": {}}\n'))
                time.sleep(0.02)
        self.is_late(self.serve(forever).path)

    def test_a_line_comes_a_byte_at_a_time(self):
        def drip(request):
            request.send(CHUNKED)
            while True:
                request.send(chunk(b' '))
                time.sleep(0.02)
        self.is_late(self.serve(drip).path)

    def test_an_answer_that_is_a_little_late_is_true_all_the_same(self):
        timeout = 2.0  # in which the answer begins
        with mock.patch.object(client, 'GRACE', PATIENCE):
            def late(request):
                request.send(CHUNKED)
                time.sleep(timeout + BRIEF)
                request.send(lines(made(request.json))[len(CHUNKED):])
            server = self.serve(late)
            self.assertEqual('hit', self.ask(server.path, timeout=timeout)['outcome'])


class LostTest(ClientCase):
    """Where the answer is lost there may be a volume, and the caller must know."""

    def loses(self, data, kind):
        server = self.serve(lambda r: r.send(data))
        self.assertTrue(self.fails(server.path, client.Lost, kind).lost)

    def test_it_closes_before_the_answer(self):
        self.loses(b'', 'connection_lost')

    def test_it_closes_within_the_headers(self):
        self.loses(CHUNKED[:-7], 'connection_lost')

    def test_it_closes_after_the_headers(self):
        self.loses(CHUNKED, 'connection_lost')

    def test_it_closes_within_a_chunk(self):
        self.loses(CHUNKED + b'ff\r\n{"answer": {"outc', 'connection_lost')

    def test_it_closes_within_a_line(self):
        self.loses(CHUNKED + chunk(b'{"answer": {"outcome": "hit"}}'), 'connection_lost')

    def test_the_stream_ends_without_an_answer(self):
        self.loses(lines({'progress': {}}), 'connection_lost')

    def test_a_line_that_never_ends(self):
        self.loses(CHUNKED + chunk(b'x' * (client.MAX_LINE + 2)), 'connection_lost')

    def test_chunks_without_a_length(self):
        self.loses(CHUNKED + b'zz\r\n{}\n\r\n', 'connection_lost')

    def test_a_line_that_is_no_json(self):
        self.loses(CHUNKED + chunk(b'gnarl\n') + b'0\r\n\r\n', 'connection_lost')

    def test_a_line_that_is_nested_too_deep(self):
        self.loses(CHUNKED + chunk(b'[' * 50000 + b'\n') + b'0\r\n\r\n', 'connection_lost')

    def test_a_line_that_is_no_object(self):
        self.loses(lines([1, 2]), 'bad_answer')

    def test_a_line_that_says_nothing(self):
        self.loses(lines({'answer': None}), 'bad_answer')


if __name__ == '__main__':
    unittest.main()
