"""Runs unit tests of Cinder's own, on Cinder's volume drivers or on ours in their place.

    run_peers.py stock|ours MODULE...

prints a line of JSON for each test, {"test", "came_to", "why"}, and at the end one with what the hook
was asked: {"drivers", "asked"}. came_to is passed, failed or skipped.

Cinder's modules name their own class in super(), so that a class cannot be replaced within its module.
Tests are given a stand-in for the module instead: it has our class under the name of Cinder's, and
is the module itself in all else, for mock.patch too.
"""

import importlib
import json
import sys
import types
import unittest

from cinder import objects

objects.register_all()

# Where a test looks for a driver class, and how ours is made of it.
REPLACED = {
    'cinder.volume.drivers.rbd': {'RBDDriver': 'clonecache_cinder.rbd.ClonecacheRBDDriver'},
    'cinder.volume.drivers.nfs': {'NfsDriver': 'clonecache_cinder.nfs.ClonecacheNFSDriver'},
    'cinder.tests.fake_driver': {'FakeLoggingVolumeDriver': None},
}

SEEN = {'drivers': 0, 'asked': 0}


class StandIn(types.ModuleType):
    """A module with some names of its own; all else is read from, and set in, the real one."""

    def __init__(self, real, own):
        object.__setattr__(self, '_StandIn__real', real)
        object.__setattr__(self, '_StandIn__own', own)

    def __getattribute__(self, name):
        own = object.__getattribute__(self, '_StandIn__own')
        return own[name] if name in own else getattr(
            object.__getattribute__(self, '_StandIn__real'), name)

    def __setattr__(self, name, value):
        setattr(object.__getattribute__(self, '_StandIn__real'), name, value)

    def __delattr__(self, name):
        delattr(object.__getattribute__(self, '_StandIn__real'), name)


def put_ours_in_place():
    from clonecache_cinder import hook
    count_what_is_asked(hook.ClonecacheMixin)
    settle_options(hook.ClonecacheMixin)
    for name, classes in REPLACED.items():
        real = importlib.import_module(name)
        own = {theirs: load(ours) if ours else before(hook.ClonecacheMixin, getattr(real, theirs))
               for theirs, ours in classes.items()}
        stand_in = StandIn(real, own)
        sys.modules[name] = stand_in
        package, _, last = name.rpartition('.')
        setattr(sys.modules[package], last, stand_in)


def load(path):
    module, _, name = path.rpartition('.')
    return getattr(importlib.import_module(module), name)


def before(mixin, theirs):
    """The driver with the hook before it, under the driver's own name."""
    return type(theirs.__name__, (mixin, theirs), {'__module__': theirs.__module__})


def count_what_is_asked(mixin):
    init, make = mixin.__init__, mixin._clonecache_make

    def counted_init(self, *args, **kwargs):
        SEEN['drivers'] += 1
        init(self, *args, **kwargs)

    def counted_make(self, *args):
        SEEN['asked'] += 1
        return make(self, *args)
    mixin.__init__, mixin._clonecache_make = counted_init, counted_make


def settle_options(mixin):
    """Give the options their defaults where a test's configuration is a mock; no daemon listens."""
    from clonecache_cinder import options
    defaults = {o.name: o.default for o in options.OPTS}
    defaults['clonecache_socket'] = '/nonexistent/clonecache.sock'

    def option(self, name):
        return defaults['clonecache_' + name]
    mixin._clonecache_option = option


class Lines(unittest.TestResult):
    """Prints what each test came to. A class or module that cannot be set up is a test that failed."""

    def _line(self, test, came_to, why=''):
        print(json.dumps({'test': test.id(), 'came_to': came_to, 'why': why[-2000:]}), file=OUT)

    def addSuccess(self, test, details=None):
        self._line(test, 'passed')

    def addSkip(self, test, reason=None, details=None):
        self._line(test, 'skipped', str(reason or words(details)))

    def addError(self, test, err=None, details=None):
        self._line(test, 'failed', self._exc_info_to_string(err, test) if err else words(details))

    addFailure = addError

    def addExpectedFailure(self, test, err=None, details=None):
        self._line(test, 'passed')

    def addUnexpectedSuccess(self, test, details=None):
        self._line(test, 'failed', 'it was expected to fail')


def words(details):
    return '\n'.join(d.as_text() for d in (details or {}).values() if 'text' in str(d.content_type))


def main(which, modules):
    if which == 'ours':
        put_ours_in_place()
    suite = unittest.defaultTestLoader.loadTestsFromNames(modules)
    suite.run(Lines())
    print(json.dumps(SEEN), file=OUT)


# Tests print what they like to standard output; ours goes to another descriptor.
OUT = open(3, 'w', buffering=1)
main(sys.argv[1], sys.argv[2:])
