"""clonecache before whichever driver a backend has."""

import functools

from cinder import exception
from oslo_utils import importutils

from clonecache_cinder import hook
from clonecache_cinder import lending
from clonecache_cinder import options

REMEDY = ('set clonecache_driver to the class that volume_driver would name without clonecache, '
          'such as cinder.volume.drivers.lvm.LVMVolumeDriver')


class ClonecacheDriver():
    """volume_driver = clonecache_cinder.driver.ClonecacheDriver

    Making one makes a driver of the class that clonecache_driver names, with the hook before it.
    A class of one line does the same: ``class Mine(lending.LendingMixin, LVMVolumeDriver)``.
    """

    def __new__(cls, *args, **kwargs):
        configuration = kwargs.get('configuration')
        if configuration is None:
            raise exception.InvalidInput(reason='a driver needs a configuration')
        configuration.append_config_values(options.OPTS)
        return before(named(configuration.clonecache_driver))(*args, **kwargs)

    @classmethod
    def get_driver_options(cls):
        return options.OPTS


def named(name):
    """The class of a driver. Raises InvalidInput, which says what to do."""
    if not name:
        raise exception.InvalidInput(reason='clonecache_driver is not set; ' + REMEDY)
    try:
        found = importutils.import_class(name)
    except ImportError as e:
        raise exception.InvalidInput(
            reason='clonecache_driver: %s: %s; %s' % (name, e, REMEDY)) from e
    if not isinstance(found, type) or issubclass(found, (hook.ClonecacheMixin, ClonecacheDriver)):
        raise exception.InvalidInput(
            reason='clonecache_driver: %s has clonecache before it already, or is no driver; %s'
            % (name, REMEDY))
    return found


@functools.lru_cache(maxsize=None)
def before(driver):
    """The class of a driver with the hook before it."""
    return type('Clonecache' + driver.__name__, (lending.LendingMixin, driver),
                {'__module__': __name__, '__doc__': driver.__doc__})
