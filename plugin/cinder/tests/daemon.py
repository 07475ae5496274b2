"""The real clonecache daemon on its own directories, with images from a server that can hold."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from clonecache_cinder import client

PROGRAM = os.environ.get('CLONECACHE_BIN') or os.path.join(
    os.path.dirname(__file__), '..', '..', '..', 'bin', 'clonecache')

# Whether that program can kill itself after a step (built with -tags failpoints).
HAS_FAILPOINTS = os.environ.get('CLONECACHE_FAILPOINTS') == '1'

CONFIG = '''
state_dir = "{dir}/state"
listen = ["unix://{dir}/s"]
[[image_source]]
name = "glance"
kind = "http"
url = "http://127.0.0.1:{port}/images"
[[backend]]
name = "files"
kind = "file"
path = "{volumes}"
fallback = "cache"
[[file_cache]]
name = "cache"
path = "{dir}/cache"
'''


IMAGE_PATH = re.compile(r'/images/[0-9a-f-]{36}')


class Images:
    """Serves every image the same bytes: half of them at once, the rest when ``flows`` is set."""

    def __init__(self, content):
        self.content = content
        self.flows = threading.Event()
        self.flows.set()
        self.held = threading.Semaphore(0)  # released when a download has come to its first half
        self.gets = 0
        images = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                if not IMAGE_PATH.fullmatch(self.path):  # lists of digests, of any name
                    self.send_error(404)
                    return False
                self.send_response(200)
                self.send_header('Content-Length', str(len(images.content)))
                self.send_header('ETag', '"1"')
                self.end_headers()
                return True

            def do_GET(self):
                if not self.do_HEAD():
                    return
                images.gets += 1
                half = len(images.content) // 2
                self.wfile.write(images.content[:half])
                images.held.release()
                images.flows.wait()
                try:
                    self.wfile.write(images.content[half:])
                except OSError:
                    pass  # the daemon has died

            def handle(self):
                try:
                    super().handle()
                except OSError:
                    pass  # the daemon has gone

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def await_half(self):
        """Wait until another download has come to its first half."""
        if not self.held.acquire(timeout=90):
            raise AssertionError('no download came to its first half')

    def stop(self):
        self.flows.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Daemon:
    """The program, started with ``start``. Its volumes lie in the directory that it is given."""

    def __init__(self, volumes, images):
        self.dir = tempfile.mkdtemp(prefix='cc-')
        self.socket = os.path.join(self.dir, 's')
        self._config = os.path.join(self.dir, 'c.toml')
        with open(self._config, 'w') as f:
            f.write(CONFIG.format(dir=self.dir, port=images.port, volumes=volumes))
        self._process = None

    def start(self, kill_after=''):
        env = dict(os.environ, CLONECACHE_KILL_AFTER=kill_after)
        with open(os.path.join(self.dir, 'log'), 'ab') as log:
            self._process = subprocess.Popen([PROGRAM, 'serve', '--config', self._config],
                                             stderr=log, stdout=log, env=env)
        self.await_ready()

    def await_ready(self):
        end = time.monotonic() + 90
        while True:
            connection = client._Connection(self.socket)
            try:
                return client.Daemon(self.socket, 5.0)._ready(connection)
            except client.Unavailable:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise
                time.sleep(0.02)
            finally:
                connection.close()

    def get(self, path):
        connection = client._Connection(self.socket)
        connection.bound(time.monotonic() + 90)
        try:
            connection.request('GET', path)
            return json.loads(connection.getresponse().read())
        except HTTPException as e:
            raise AssertionError(self.log()) from e
        finally:
            connection.close()

    def log(self):
        with open(os.path.join(self.dir, 'log')) as f:
            return f.read()

    def signal(self, number):
        self._process.send_signal(number)

    def kill(self):
        self._process.kill()
        self._process.wait()

    def wait(self):
        self._process.wait(timeout=90)

    def remove(self):
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(timeout=90)
        shutil.rmtree(self.dir)
