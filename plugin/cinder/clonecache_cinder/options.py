"""The hook's settings in a backend's section of cinder.conf."""

from oslo_config import cfg

OPTS = [
    cfg.StrOpt('clonecache_driver',
               help='With volume_driver = clonecache_cinder.driver.ClonecacheDriver: the class of '
                    "the driver that it stands before, as volume_driver would name it."),
    cfg.StrOpt('clonecache_socket',
               default='/run/clonecache/clonecache.sock',
               help='The unix socket of the clonecache daemon on this host. The user that runs '
                    'cinder-volume must be allowed to open it.'),
    cfg.StrOpt('clonecache_backend',
               help="This backend's name in clonecache's configuration. Default: "
                    'volume_backend_name, else the name of the section.'),
    cfg.ListOpt('clonecache_share_backends',
                default=[],
                help='NFS with several shares: NAME=HOST:/PATH for each share that a clonecache '
                     'backend covers. Volumes on other shares are made without clonecache.'),
    cfg.StrOpt('clonecache_image_source',
               default='glance',
               help="The name of the image source of kind glance in clonecache's configuration."),
    cfg.StrOpt('clonecache_on_miss',
               default='wait',
               choices=[('wait', 'wait until the image is cached, then clone it'),
                        ('background', "go Cinder's way at once; the image is cached meanwhile")],
               help='What a volume does whose image is not cached yet.'),
    cfg.FloatOpt('clonecache_timeout',
                 default=3600.0, min=5.0,
                 help="Seconds after which a volume goes Cinder's way. The daemon makes no volume "
                      'later than that.'),
    cfg.FloatOpt('clonecache_connect_timeout',
                 default=10.0, min=0.1,
                 help='Seconds that the daemon may take to begin its answer.'),
    cfg.IntOpt('clonecache_max_waiting',
               min=0,
               help='How many volumes of this backend may wait for an image to be cached. More of '
                    'them go as with clonecache_on_miss=background: cached images are cloned, '
                    "others go Cinder's way. Must be below executor_thread_pool_size, since "
                    "image-volumes are made by the same cinder-volume. Default: half of it."),
    cfg.BoolOpt('clonecache_progress',
                default=True,
                help='Show a waiting volume as downloading, with image_cache_progress in its '
                     'metadata.'),
]
