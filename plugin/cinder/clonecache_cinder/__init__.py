"""A Cinder driver hook: volumes from images are cloned by clonecache.

``rbd.ClonecacheRBDDriver`` and ``nfs.ClonecacheNFSDriver`` are Cinder's own drivers with one
method changed, ``clone_image``: it asks the clonecache daemon on this host before Cinder looks
into its own image-volume cache or downloads the image. Whatever keeps the daemon from making the
volume, Cinder goes on as it does without the hook.
"""
