#!/usr/bin/python3
"""accounts.py accounts PORT  makes the users and endpoints of Nova, placement and Neutron in the lab's Keystone
accounts.py wake PORT      asks Neutron for its networks: until it has looked for some, it answers 500 to who asks for ports

Part of cloud.sh. Repeating either changes nothing.
"""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../openstack'))
from accounts import Lab  # noqa: E402


def wake(port):
    lab = Lab(port)
    lab.ask('GET', f'http://127.0.0.1:{port + 22}/v2.0/networks', patience=60)


def accounts(port):
    lab = Lab(port)
    lab.endpoint('compute', 'nova', f'http://127.0.0.1:{port + 20}/v2.1')
    lab.endpoint('placement', 'placement', f'http://127.0.0.1:{port + 21}')
    lab.endpoint('network', 'neutron', f'http://127.0.0.1:{port + 22}')
    project = lab.ensure('project', 'service')
    roles = [lab.ensure('role', role) for role in ('admin', 'service')]
    for name in ('nova', 'placement', 'neutron'):
        user = lab.ensure('user', name, domain_id='default', password='secret')
        for role in roles:
            lab.ask('PUT', f'{lab.keystone}/projects/{project}/users/{user}/roles/{role}')


if __name__ == '__main__':
    if len(sys.argv) != 3 or sys.argv[1] not in ('accounts', 'wake'):
        raise SystemExit(__doc__)
    {'accounts': accounts, 'wake': wake}[sys.argv[1]](int(sys.argv[2]))
