#!/usr/bin/python3
"""accounts.py accounts DIR PORT  makes the lab's projects, users, endpoints, clouds.yaml and Cinder's internal tenant
accounts.py types DIR             makes the volume types, once every backend of Cinder reports that it is up

Part of lab.sh. Repeating either changes nothing.
"""
import json
import sys
import time
import urllib.error
import urllib.request

PROJECTS = ("service", "demo", "other", "cinder-internal")
# user: project and its roles there
USERS = {
    "glance": ("service", ("service", "admin")),
    "cinder": ("service", ("service", "admin")),
    "demo": ("demo", ("member",)),
    "other": ("other", ("member",)),
    "cinder-internal": ("cinder-internal", ("member",)),
}
CLOUDS = {"admin": "admin", "demo": "demo", "other": "other", "cinder-internal": "cinder-internal"}
BACKENDS = ("rbd1", "rbd2", "nfs1", "nfs2")


class Lab:
    def __init__(self, port, user="admin", project="admin"):
        self.port = port
        self.keystone = f"http://127.0.0.1:{port}/v3"
        self.token = None
        answer, headers = self.ask("POST", f"{self.keystone}/auth/tokens", {"auth": {
            "identity": {"methods": ["password"], "password": {
                "user": {"name": user, "domain": {"id": "default"}, "password": "secret"}}},
            "scope": {"project": {"name": project, "domain": {"id": "default"}}}}}, patience=60)
        self.token = headers["X-Subject-Token"]
        self.project = answer["token"]["project"]["id"]
        self.cinder = f"http://127.0.0.1:{port + 2}/v3/{self.project}"

    def ask(self, method, url, body=None, patience=0):
        """Returns the decoded answer and its headers; tries again for `patience` seconds while nobody answers."""
        end = time.monotonic() + patience
        while True:
            request = urllib.request.Request(url, method=method, data=json.dumps(body).encode() if body else None)
            request.add_header("Content-Type", "application/json")
            if self.token:
                request.add_header("X-Auth-Token", self.token)
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    text = answer.read()
                    return (json.loads(text) if text else {}), answer.headers
            except (urllib.error.URLError, ConnectionError) as error:
                refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
                if refused or time.monotonic() > end:
                    detail = error.read().decode() if isinstance(error, urllib.error.HTTPError) else ""
                    raise SystemExit(f"{method} {url}: {error} {detail}")
            time.sleep(0.2)

    def ensure(self, kind, name, **more):
        """The ID of the thing of that kind and name, which is made unless it is there."""
        plural = kind + "s"
        found, _ = self.ask("GET", f"{self.keystone}/{plural}?name={name}")
        if found[plural]:
            return found[plural][0]["id"]
        made, _ = self.ask("POST", f"{self.keystone}/{plural}", {kind: {"name": name, **more}})
        return made[kind]["id"]

    def endpoint(self, kind, name, url):
        service = self.ensure("service", name, type=kind)
        found, _ = self.ask("GET", f"{self.keystone}/endpoints?service_id={service}")
        have = {endpoint["interface"] for endpoint in found["endpoints"]}
        for interface in {"public", "internal", "admin"} - have:
            self.ask("POST", f"{self.keystone}/endpoints", {"endpoint": {
                "service_id": service, "interface": interface, "url": url, "region_id": "lab"}})


def accounts(directory, port):
    lab = Lab(port)
    lab.endpoint("image", "glance", f"http://127.0.0.1:{port + 1}")
    lab.endpoint("block-storage", "cinder", f"http://127.0.0.1:{port + 2}/v3/%(project_id)s")
    lab.endpoint("volumev3", "cinderv3", f"http://127.0.0.1:{port + 2}/v3/%(project_id)s")
    roles = {role: lab.ensure("role", role) for role in ("admin", "member", "service")}
    projects = {name: lab.ensure("project", name, domain_id="default") for name in PROJECTS}
    users = {}
    for name, (project, names) in USERS.items():
        users[name] = lab.ensure("user", name, domain_id="default", password="secret")
        for role in names:
            lab.ask("PUT", f"{lab.keystone}/projects/{projects[project]}/users/{users[name]}/roles/{roles[role]}")
    with open(f"{directory}/cinder.d/20-internal-tenant.conf", "w") as conf:
        conf.write(f"[DEFAULT]\ncinder_internal_tenant_project_id = {projects['cinder-internal']}\n"
                   f"cinder_internal_tenant_user_id = {users['cinder-internal']}\n")
    with open(f"{directory}/ids.json", "w") as ids:
        json.dump({"projects": projects, "users": users}, ids, indent=1)
    write_clouds(directory, lab)


def write_clouds(directory, lab):
    with open(f"{directory}/password", "w") as file:
        file.write("secret\n")
    with open(f"{directory}/clouds.yaml", "w") as clouds:
        clouds.write("clouds:\n")
        for user, project in CLOUDS.items():
            clouds.write(f"""  {user}:
    region_name: lab
    identity_api_version: 3
    auth:
      auth_url: {lab.keystone}
      username: {user}
      password: secret
      project_name: {project}
      user_domain_name: Default
      project_domain_name: Default
""")
            with open(f"{directory}/openrc-{user}", "w") as openrc:
                openrc.write(f"export OS_AUTH_URL={lab.keystone} OS_IDENTITY_API_VERSION=3 OS_REGION_NAME=lab\n"
                             f"export OS_USERNAME={user} OS_PASSWORD=secret OS_PROJECT_NAME={project}\n"
                             "export OS_USER_DOMAIN_NAME=Default OS_PROJECT_DOMAIN_NAME=Default\n")


def types(directory):
    with open(f"{directory}/clouds.yaml") as clouds:
        port = int(clouds.read().split("auth_url: http://127.0.0.1:")[1].split("/")[0])
    lab = Lab(port)
    answer, _ = lab.ask("GET", f"{lab.cinder}/types?is_public=None", patience=60)
    have = {kind["name"] for kind in answer["volume_types"]}
    for name in BACKENDS:
        if name not in have:
            lab.ask("POST", f"{lab.cinder}/types", {"volume_type": {
                "name": name, "extra_specs": {"volume_backend_name": name}}})
    wait_for_backends(lab)


def wait_for_backends(lab):
    """The scheduler knows a backend, and what it holds, once it is among its pools. One whose word came before the scheduler
    listened is heard of again within two minutes (periodic_fuzzy_delay and periodic_interval, 60 s each)."""
    end = time.monotonic() + 300
    missing = set(BACKENDS)
    while missing:
        answer, _ = lab.ask("GET", f"{lab.cinder}/scheduler-stats/get_pools", patience=30)
        missing = set(BACKENDS) - {pool["name"].split("@")[1].split("#")[0] for pool in answer["pools"]}
        if missing and time.monotonic() > end:
            raise SystemExit(f"backends of Cinder that did not come up: {', '.join(sorted(missing))}")
        time.sleep(0.2)


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "accounts":
        accounts(sys.argv[2], int(sys.argv[3]))
    elif len(sys.argv) == 3 and sys.argv[1] == "types":
        types(sys.argv[2])
    else:
        raise SystemExit(__doc__)
