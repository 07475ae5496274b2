"""One request to the clonecache daemon over its unix socket.

It uses http.client on a plain AF_UNIX socket, so that it waits without holding up other green
threads where eventlet has patched the standard library, and blocks only its own thread where it
has not. Every wait is bounded by an absolute time, however slowly bytes come. What has arrived
is read even after it: an answer may have waited while this process could not run.

The protocol is described in docs/api.md: POST /v1/backends/{backend}/volumes, or .../loans, which
are answered by lines of JSON.
"""

import io
import json
import socket
import time
import urllib.parse
from http.client import HTTPConnection, HTTPException

# How many seconds after its deadline an answer may still arrive. The daemon makes no volume after
# the deadline; an answer that says one was made is true whenever it comes.
GRACE = 10.0

# How many seconds the daemon lets what was lent be kept, at most.
KEPT_FOR = 60.0

MAX_LINE = 64 * 1024
MAX_BODY = 256 * 1024


class DaemonError(Exception):
    """The daemon made no volume that the caller may use.

    kind is a stable word: the API's error code, or one of those below. ``asked`` tells whether the
    daemon may have begun, and ``lost`` that it ended without saying what became of the volume.
    """

    asked = False
    lost = False

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class Unavailable(DaemonError):
    """Nobody answers at the socket, or the daemon is not ready. Nothing was asked of it."""


class Refused(DaemonError):
    """The daemon answered with an error. It made no volume."""

    asked = True


class GaveUp(DaemonError):
    """The time was over and no answer had arrived.

    The daemon makes no volume any more, or removes it by its own ID. An answer that it sent at the
    last moment counts as delivered for it, so what it may have made is cleared as after Lost.
    """

    asked = True
    lost = True


class Lost(DaemonError):
    """The connection ended, or what came was no answer. There may be a volume, whole or not."""

    asked = True
    lost = True


class _TimedReader(io.RawIOBase):
    """Reads from a socket until an absolute time, which its owner may move."""

    def __init__(self, connection):
        super().__init__()
        self._connection = connection

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._connection.recv_into(buffer)


class _TimedSocket:
    """What http.client needs of a socket; each call waits until the time in ``until`` at most."""

    def __init__(self, sock, until):
        self._sock = sock
        self._overtime = MAX_BODY  # how many bytes that had arrived may be read after the time
        self.until = until

    def timed(self):
        left = self.until - time.monotonic()
        if left <= 0:
            raise socket.timeout('timed out')
        self._sock.settimeout(left)
        return self._sock

    def recv_into(self, buffer):
        """Read what has arrived, whatever the time is; only waiting for more is bounded."""
        try:
            return self.timed().recv_into(buffer)
        except socket.timeout:
            # eventlet ends a wait before it looks at the socket, if its own turn came too late.
            return self._arrived(memoryview(buffer)[:self._overtime])

    def _arrived(self, buffer):
        if not buffer:
            raise socket.timeout('timed out; the other end goes on sending')
        self._sock.settimeout(0)
        try:
            read = self._sock.recv_into(buffer)
        except BlockingIOError as e:
            raise socket.timeout('timed out') from e
        self._overtime -= read
        return read

    def sendall(self, data):
        self.timed().sendall(data)

    def makefile(self, mode, *args, **kwargs):
        return io.BufferedReader(_TimedReader(self))

    def close(self):
        self._sock.close()


class _Connection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path):
        super().__init__('clonecache')
        self._path = path
        self.until = 0.0

    def bound(self, until):
        """Let everything from now on end at ``until`` (monotonic seconds)."""
        self.until = until
        if self.sock is not None:
            self.sock.until = until

    def connect(self):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        timed = _TimedSocket(sock, self.until)
        try:
            timed.timed().connect(self._path)
        except BaseException:
            sock.close()
            raise
        self.sock = timed


class Daemon:
    """The daemon at a socket. It holds no connection between calls; threads may share it."""

    def __init__(self, path, patience):
        """path is the socket's; patience is how many seconds it may take to begin an answer."""
        self._path = path
        self._patience = patience

    def create_volume(self, backend, body, token=None, timeout=3600.0, progress=None):
        """Ask for a volume and wait for the answer, at most timeout seconds and GRACE.

        body has the fields of the API; the deadline is added. progress is called with each
        progress object. Returns the answer, outcome bypassed included. Raises DaemonError.
        Closing the connection, on whatever way out, tells the daemon that nobody waits any more.
        """
        return self._asked(_volumes(backend), body, token, timeout, progress)

    def lend(self, backend, body, token=None, timeout=3600.0, progress=None):
        """Ask for an image-volume to clone from, as create_volume asks for a volume.

        An answer that is not bypassed has a loan, which lives until end_loan, or until the
        deadline and what a clone may take.
        """
        return self._asked('/v1/backends/%s/loans' % urllib.parse.quote(backend, safe=''),
                           body, token, timeout, progress)

    def _asked(self, path, body, token, timeout, progress):
        connection = _Connection(self._path)
        try:
            self._ready(connection)
            return self._create(connection, path, body, token, timeout, progress)
        finally:
            connection.close()

    def end_loan(self, loan, how):
        """Say what became of the clone: made, not_made, full or gone. It may be repeated."""
        self._told('PUT', _loan(loan), {'end': how})

    def renew_loan(self, loan):
        """Say that the clone is still being made. Whether the loan lives. Raises DaemonError."""
        return self._told('POST', _loan(loan) + '/renew')[0] != 404

    def keep_loan(self, loan):
        """Hold what was lent, though its volume is made, until the daemon wants it back.

        It is the caller's until end_loan. Raises DaemonError: it may be gone at any moment.
        """
        self._told('POST', _loan(loan) + '/keep', patience=KEPT_FOR + self._patience)

    def delete_volume(self, backend, volume):
        """Remove a volume that the daemon made. It is no error if there is none."""
        self._told('DELETE', '%s/%s' % (_volumes(backend), urllib.parse.quote(volume, safe='')))

    def end_loans(self, backend, place):
        """Say that nobody makes any volume any more that was to be made in a place by now."""
        self._told('PUT', '/v1/backends/%s/loans' % urllib.parse.quote(backend, safe=''),
                   {'place': place, 'end': 'not_made'})

    def tenant_project(self):
        """The ID of the project that the daemon's image-volumes are in. Raises DaemonError."""
        _, answer = self._told('GET', '/v1/quota?use_only=true')
        try:
            return str(json.loads(answer)['project_id'])
        except (ValueError, KeyError, TypeError) as e:
            raise Refused('bad_answer', 'the quota names no project') from e

    def _told(self, method, path, body=None, patience=None):
        """Tell the daemon something. Returns status and body; what is gone (404) is no error."""
        connection = _Connection(self._path)
        connection.bound(time.monotonic() + (patience or self._patience))
        headers = {} if body is None else {'Content-Type': 'application/json'}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            body = response.read(MAX_BODY)
        except (OSError, HTTPException, ValueError) as e:
            raise Unavailable('daemon_unreachable', '%s: %s' % (self._path, _describe(e))) from e
        finally:
            connection.close()
        if response.status >= 300 and response.status != 404:
            raise Refused(*_refusal(response.status, body))
        return response.status, body

    def _ready(self, connection):
        """See that a living daemon listens before it is told anything that it may act upon."""
        connection.bound(time.monotonic() + self._patience)
        try:
            connection.request('GET', '/readyz')
            response = connection.getresponse()
            body = response.read(MAX_BODY)
        except (OSError, HTTPException, ValueError) as e:
            raise Unavailable('daemon_unreachable', '%s: %s' % (self._path, _describe(e))) from e
        if response.status != 200:
            raise Unavailable('daemon_not_ready', _refusal(response.status, body)[1])

    def _create(self, connection, path, body, token, timeout, progress):
        deadline = time.time() + timeout
        end = time.monotonic() + timeout + GRACE
        headers = {'Content-Type': 'application/json', 'Accept': 'application/x-ndjson'}
        if token:
            headers['X-Auth-Token'] = token
        body = json.dumps(dict(body, deadline=_rfc3339(deadline)))
        connection.bound(time.monotonic() + min(self._patience, timeout))
        try:
            connection.request('POST', path, body, headers)
            response = connection.getresponse()
            connection.bound(end)
            if response.status != 200:
                raise Refused(*_refusal(response.status, response.read(MAX_BODY)))
            return _last_line(response, progress)
        except socket.timeout as e:
            raise GaveUp('deadline', 'the daemon did not answer in time') from e
        except (OSError, HTTPException, ValueError, RecursionError) as e:
            raise Lost('connection_lost', _describe(e)) from e


def _volumes(backend):
    return '/v1/backends/%s/volumes' % urllib.parse.quote(backend, safe='')


def _loan(loan):
    return '/v1/loans/%s' % urllib.parse.quote(loan, safe='')


def _last_line(response, progress):
    """Read progress until the line with the answer or the error."""
    while True:
        line = response.readline(MAX_LINE + 1)
        if not line.endswith(b'\n'):
            raise Lost('connection_lost', 'the answer ended after %d bytes of a line' % len(line))
        message = json.loads(line)
        if not isinstance(message, dict):
            raise Lost('bad_answer', 'a line is no object')
        if isinstance(message.get('error'), dict):
            raise Refused(*_fields(message['error']))
        if isinstance(message.get('answer'), dict):
            return message['answer']
        if not isinstance(message.get('progress'), dict):
            raise Lost('bad_answer', 'a line is neither progress nor answer nor error')
        if progress is not None:
            progress(message['progress'])


def _refusal(status, body):
    """The code and message of an error's body; of a foreign one, its status."""
    try:
        error = json.loads(body)['error']
        return _fields(error)
    except (ValueError, KeyError, TypeError, AttributeError):
        return 'bad_answer', 'HTTP status %d without a reason' % status


def _fields(error):
    return str(error.get('code') or 'bad_answer'), str(error.get('message') or 'no message')


def _describe(error):
    return '%s: %s' % (type(error).__name__, error) if str(error) else type(error).__name__


def _rfc3339(seconds):
    whole = time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))
    return '%s.%03dZ' % (whole, int(seconds % 1 * 1000))
