"""Drivers that stand still in a clone for as long as a test wants, or say how long each takes."""

import os
import time

from cinder.volume.drivers import rbd
from oslo_config import cfg
from oslo_log import log as logging

LOG = logging.getLogger(__name__)


class HeldRBDDriver(rbd.RBDDriver):
    """While the file hold-clones is in state_path, each clone that is made waits until it is gone.

    The first one to wait makes hold-clones.reached.
    """

    def create_cloned_volume(self, volume, src_vref):
        update = super().create_cloned_volume(volume, src_vref)
        hold = os.path.join(cfg.CONF.state_path, 'hold-clones')
        while os.path.exists(hold):
            with open(hold + '.reached', 'w'):
                time.sleep(0.05)
        return update


class TimedRBDDriver(rbd.RBDDriver):
    """A driver that logs how long each of its clones takes, whoever asks for it."""

    def create_cloned_volume(self, volume, src_vref):
        begun = time.monotonic()
        update = super().create_cloned_volume(volume, src_vref)
        LOG.info('create_cloned_volume made %(volume)s in %(took).4f s',
                 {'volume': volume.name, 'took': time.monotonic() - begun})
        return update
