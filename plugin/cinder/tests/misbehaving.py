"""A unix-socket server that answers requests as a test tells it to: well, badly or not at all."""

import json
import os
import shutil
import socket
import tempfile
import threading

CHUNKED = (b'HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n'
           b'Transfer-Encoding: chunked\r\n\r\n')


def reply(status, body, reason='X'):
    """A whole HTTP answer."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return b'HTTP/1.1 %d %s\r\nContent-Length: %d\r\n\r\n%s' % (
        status, reason.encode(), len(body), body)


def chunk(data):
    return b'%x\r\n%s\r\n' % (len(data), data)


def lines(*objects):
    """A whole stream of lines."""
    chunks = [chunk(json.dumps(o).encode() + b'\n') for o in objects]
    return CHUNKED + b''.join(chunks) + b'0\r\n\r\n'


def made(request, outcome='hit', **more):
    """The daemon's answer to a request."""
    return {'answer': dict({'outcome': outcome, 'reason': 'ready', 'volume': request['volume'],
                            'size_bytes': request['size_bytes']}, **more)}


READY = reply(200, {})


class Request:
    """What came over a connection."""

    def __init__(self, connection, method, path, headers, body):
        self.connection = connection
        self.method = method
        self.path = path
        self.headers = headers
        self.json = json.loads(body) if body else None

    def send(self, data):
        self.connection.sendall(data)

    def until_closed(self):
        """Wait until the other end closes."""
        while self.connection.recv(1024):
            pass


class Server:
    """Serves each connection in a thread of its own.

    GET /readyz is answered by ``ready``, and DELETE with success. Any other request is handed to
    post(request), and when that returns something false the connection is closed.
    """

    def __init__(self, post, ready=READY):
        self.post = post
        self.ready = ready
        self.requests = []
        self.deleted = []
        self.closed = threading.Semaphore(0)  # released for each connection that ended
        self._dir = tempfile.mkdtemp(prefix='cc-')
        self.path = os.path.join(self._dir, 's')
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(128)
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def stop(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()
        shutil.rmtree(self._dir)

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            thread.start()
            self._threads.append(thread)

    def _serve(self, connection):
        with connection, connection.makefile('rb') as reader:
            try:
                while self._one(connection, reader):
                    pass
            except OSError:
                pass  # the other end has gone
        self.closed.release()

    def _one(self, connection, reader):
        request = read_request(connection, reader)
        if request is None:
            return False
        if request.path == '/readyz':
            if callable(self.ready):
                return self.ready(request)
            request.send(self.ready)
            return True
        if request.method == 'DELETE':
            self.deleted.append(request.path)
            request.send(reply(200, {}))
            return True
        self.requests.append(request)
        return self.post(request)


def read_request(connection, reader):
    first = reader.readline().decode()
    if not first:
        return None
    method, path, _ = first.split(' ', 2)
    headers = {}
    for line in iter(reader.readline, b'\r\n'):
        name, _, value = line.decode().partition(':')
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers.get('content-length', 0)))
    return Request(connection, method, path, headers, body)
