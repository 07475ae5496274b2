"""A driver that stands still in a clone for as long as a test wants, as an array that copies."""

import os
import time

from cinder.volume.drivers import rbd
from oslo_config import cfg


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
