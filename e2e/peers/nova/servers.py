#!/usr/bin/python3
"""servers.py IMAGE SUM CLONECACHE  boots servers of an image in the lab, and prints what became of each

One server from a volume that Cinder makes of the image, then five at once, then, one after another, two from the image
itself, which nova-compute downloads. Each must become ACTIVE, print SUM on its console, and have the outcome that it
should. Volumes and servers are deleted at the end. Exit code 1 if anything was not so. LAB_DIR and LAB_PORT name the lab.
"""
import collections
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../openstack'))
from accounts import Lab  # noqa: E402

PATIENCE = 1200  # seconds from a create to the last word of the guest: QEMU translates its code, and others use the machine
Server = collections.namedtuple('Server', 'name id asked')
Case = collections.namedtuple('Case', 'name count volume want')
CASES = (
    Case('cold', 1, True, 'filled'),
    Case('cached', 5, True, 'hit|joined'),
    Case('first-download', 1, False, r'[1-9]\d* MiB from Glance'),
    Case('second-download', 1, False, '0 MiB from Glance'),
)


class Cloud(Lab):
    def __init__(self, port, directory, image, clonecache):
        super().__init__(port)
        self.nova = f'http://127.0.0.1:{port + 20}/v2.1'
        self.directory, self.image, self.clonecache = directory, image, clonecache

    def compute(self, method, path, body=None):
        request = urllib.request.Request(self.nova + path, method=method, data=json.dumps(body).encode() if body else None)
        for key, value in (('Content-Type', 'application/json'), ('X-Auth-Token', self.token),
                           ('OpenStack-API-Version', 'compute 2.90')):
            request.add_header(key, value)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                text = answer.read()
                return json.loads(text) if text else {}
        except urllib.error.HTTPError as error:
            if error.code == 404 and method == 'GET':
                return None
            raise SystemExit(f'{method} {path}: {error} {error.read().decode()}')

    def make_flavor(self):
        flavor = {'name': f'small-{os.getpid()}', 'ram': 128, 'vcpus': 1, 'disk': 1}
        return self.compute('POST', '/flavors', {'flavor': flavor})['flavor']['id']

    def create(self, name, flavor, volume):
        server = {'name': name, 'flavorRef': flavor, 'networks': 'none'}
        if volume:
            server['block_device_mapping_v2'] = [{
                'uuid': self.image, 'source_type': 'image', 'destination_type': 'volume', 'boot_index': 0,
                'volume_size': 1, 'volume_type': 'rbd1', 'delete_on_termination': True}]
        else:
            server['imageRef'] = self.image
        asked = time.monotonic()
        return Server(name, self.compute('POST', '/servers', {'server': server})['server']['id'], asked)

    def show(self, server):
        found = self.compute('GET', f'/servers/{server.id}')
        return found and found['server']

    def console(self, server):
        """What the guest has said is its disk's checksum; '' is nothing yet."""
        text = self.compute('POST', f'/servers/{server.id}/action', {'os-getConsoleOutput': {}})['output']
        said = [line.split()[1] for line in text.splitlines() if line.startswith('disk ') and len(line.split()) == 2]
        return said[-1] if said and text.rfind('\n') > text.rfind(said[-1]) else ''

    def outcomes(self):
        """What became of each volume, by its name in Cinder."""
        events = json.loads(subprocess.check_output([self.clonecache, 'event', 'list', '--limit', '1000', '-o', 'json']))
        return {event['volume']: event['outcome'] for event in events if event.get('volume') and event.get('outcome')}

    def sent(self):
        """How much of the image Glance itself has sent, in bytes. For what is cached it is asked for one byte, to hear whether the
        caller may have it."""
        with open(f'{self.directory}/log/glance.log', errors='replace') as log:
            return sum(map(int, re.findall(rf'"GET /v2/images/{self.image}/file HTTP/1.1" 20\d (\d+) ', log.read())))


def wait(cloud, servers):
    """Waits until each server has ended: it printed a checksum, or is in ERROR. Returns what each came to."""
    came_to = {server.name: {'state': '?', 'active': None, 'said': None, 'sum': '', 'volume': ''} for server in servers}
    waiting = list(servers)
    while waiting:
        for server in list(waiting):
            one, took = came_to[server.name], time.monotonic() - server.asked
            shown = cloud.show(server)
            one['state'] = shown['status'] if shown else 'gone'
            if shown and shown['os-extended-volumes:volumes_attached']:
                one['volume'] = 'volume-' + shown['os-extended-volumes:volumes_attached'][0]['id']
            if one['state'] == 'ACTIVE':
                one['active'] = one['active'] or took
                one['sum'] = cloud.console(server)
                one['said'] = took if one['sum'] else None
            elif one['state'] != 'BUILD':
                one['fault'] = (shown or {}).get('fault', {}).get('message', '')
            if one['sum'] or one['state'] not in ('ACTIVE', 'BUILD') or took > PATIENCE:
                waiting.remove(server)
        time.sleep(0.5)
    return came_to


def delete(cloud, servers):
    for server in servers:
        cloud.compute('DELETE', f'/servers/{server.id}')
    end = time.monotonic() + PATIENCE
    for server in servers:
        while True:
            shown = cloud.show(server)
            if not shown:
                break
            if shown['status'] == 'ERROR' or time.monotonic() > end:
                raise SystemExit(f'server {server.name} is not deleted: {shown["status"]} {shown.get("fault", "")}')
            time.sleep(0.5)


def seconds(took):
    return '-' if took is None else '%.1f' % took


def row(*cells):
    print('%-18s %-7s %-7s %8s %8s  %-20s %s' % cells, flush=True)


def run(cloud, case, flavor, want_sum):
    """Boots the servers of a case, prints a row each, and returns what was wrong."""
    before, wrong = cloud.sent(), []
    servers = [cloud.create(f'{case.name}-{n + 1}', flavor, case.volume) for n in range(case.count)]
    came_to = wait(cloud, servers)
    of_volume = cloud.outcomes()
    sent = (cloud.sent() - before) >> 20
    for name, one in came_to.items():
        outcome = of_volume.get(one['volume'], 'none')
        if not case.volume:
            outcome = '%d MiB from Glance' % sent
        whole = 'equal' if one['sum'] == want_sum else 'WRONG: ' + one['sum'] if one['sum'] else 'none'
        row(name, 'volume' if case.volume else 'image', one['state'], seconds(one['active']), seconds(one['said']), outcome, whole)
        if one['state'] != 'ACTIVE' or whole != 'equal' or not re.fullmatch(case.want, outcome):
            wrong.append('%s: %s, outcome %s (want %s), checksum %s; %s' % (
                name, one['state'], outcome, case.want, whole, one.get('fault', '')))
    delete(cloud, servers)
    # nova-compute keeps what it downloaded; without it, it downloads anew.
    shutil.rmtree(f'{cloud.directory}/nova/instances/_base', ignore_errors=True)
    return wrong


def main(image, want_sum, clonecache):
    cloud = Cloud(int(os.environ['LAB_PORT']), os.environ['LAB_DIR'], image, clonecache)
    flavor = cloud.make_flavor()
    row('server', 'from', 'state', 'ACTIVE s', 'booted s', 'outcome', 'checksum on its console')
    wrong = [line for case in CASES for line in run(cloud, case, flavor, want_sum)]
    for line in wrong:
        print('WRONG: ' + line)
    return 1 if wrong else 0


if __name__ == '__main__':
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    sys.exit(main(*sys.argv[1:]))
