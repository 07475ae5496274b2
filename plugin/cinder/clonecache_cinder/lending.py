"""The hook before any driver: it clones what the daemon lends.

The daemon's backend is of kind cinder. Its image-volumes are Cinder's volumes, which this same
driver has filled, and it lends one until it hears what became of the clone.
"""

import time

from cinder import exception
from cinder import objects
from cinder.volume import volume_utils
from oslo_log import log as logging

from clonecache_cinder import hook
from clonecache_cinder.early import Early
from clonecache_cinder.guess import Guesses
from clonecache_cinder.kept import Shelf
from clonecache_cinder.later import Later
from clonecache_cinder.loan import Ended
from clonecache_cinder.loan import Loan

LOG = logging.getLogger(__name__)

PLACE_KEY = 'clonecache_place'

# How often one volume may find a full generation, or none: others fill them meanwhile.
MOST_TRIES = 64

# By which a driver finds a volume, and the hook whether the driver can clone it.
SOURCE_FIELDS = ('name', 'host', 'cluster_name', 'size', 'volume_type_id', 'encryption_key_id')

# What a driver may write into a volume, and what is taken back with a half clone.
PROVIDER_FIELDS = ('provider_location', 'provider_id', 'provider_auth', 'provider_geometry')


class LendingMixin(hook.ClonecacheMixin):
    """Stands before any driver: ``class D(LendingMixin, LVMVolumeDriver)``.

    The clone is the driver's own create_cloned_volume. Whatever the driver raises in it, what it
    has left is deleted before Cinder goes on.
    """

    _lending_project = None  # whose volumes are image-volumes, as the daemon said last

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._lending_later = Later(self._lending_end)
        self._lending_guesses = Guesses()
        self._lending_shelf = Shelf(self._clonecache_daemon,
                                    lambda loan: self._lending_end(loan, 'made'))

    def do_setup(self, context):
        super().do_setup(context)
        self._lending_begin_anew()

    def _lending_begin_anew(self):
        """End what an earlier process of this cinder-volume had on loan: it clones no more.

        In a cluster others may clone in the same place; there, loans end by themselves.
        """
        if getattr(self, 'cluster_name', None) or not self.host:
            return
        try:
            self._clonecache_daemon().end_loans(self._clonecache_name(), self.host)
        except Exception as e:
            LOG.debug('loans of an earlier process of %s end by themselves: %s', self.host, e)

    def clone_image(self, context, volume, image_location, image_meta, image_service):
        if isinstance(volume, objects.Volume) and hook.own(volume):
            if self._lending_has_made(volume):
                self._lending_note_place(volume)
        return super().clone_image(context, volume, image_location, image_meta, image_service)

    def _lending_has_made(self, volume):
        """Whether a volume that says it is an image-volume is in the internal tenant's project.

        Anybody may write such metadata on a volume of his own, and would be shown hosts and pools.
        """
        if volume.project_id != self._lending_project:
            try:
                self._lending_project = self._clonecache_daemon().tenant_project()
            except Exception as e:
                LOG.warning('the place of volume %s is not noted, since the daemon does not say '
                            "whether it is an image-volume's: %s", volume.id, e)
                return False
        return volume.project_id == self._lending_project

    def _lending_note_place(self, volume):
        """Let the daemon know where an image-volume lies: the API does not show it to it."""
        try:
            self.db.volume_metadata_update(
                volume._context.elevated(), volume.id, {PLACE_KEY: place(volume)}, False)
        except Exception:
            LOG.exception('the place of image-volume %s is not noted', volume.id)

    def _clonecache_unsuitable(self, image_meta):
        # Cinder itself reads the image, in every format and with every check that it has.
        properties = image_meta.get('properties') or {}
        if properties.get('cinder_encryption_key_id'):
            return 'the image is encrypted'
        return None

    def _clonecache_call(self):
        return self._clonecache_daemon().lend

    def _clonecache_ask(self, context, volume, image_location, image_meta):
        begun = time.monotonic()
        where = self._clonecache_place(volume)
        body = dict(self._clonecache_body(volume, image_location, image_meta),
                    place=place(volume), renews=True)
        key = (where, body['image'], body['place'], volume.volume_type_id)
        end = begun + self._clonecache_option('timeout')
        kept = self._lending_shelf.look(key)
        for _ in range(MOST_TRIES):
            left = end - time.monotonic()
            if left <= 0:
                raise hook.Unsuitable('deadline', 'no image-volume took a clone in time')
            guess = self._lending_guesses.begin(context, body['image'])
            early = self._lending_early(context, volume, kept)
            answer, loan = self._lending_asked(context, volume, where, body, left, early)
            update = self._lending_try(context, volume, loan, guess, early, key)
            if update is not None:
                self._lending_guesses.note(body['image'], loan.lent)
                LOG.info('clonecache made %(volume)s of %(image)s: %(outcome)s in %(took).3f s',
                         {'volume': volume.name, 'image': body['image'],
                          'outcome': answer['outcome'], 'took': time.monotonic() - begun})
                return update
            if early is not None:
                check_gone(early)
            kept = None  # it was full, or is there no more
        raise hook.Unsuitable('clone_limit', 'each image-volume was full as soon as it was lent')

    def _lending_asked(self, context, volume, where, body, left, early):
        """The daemon's answer and what it lends. Raises Unsuitable, DaemonError.

        Then nothing is left of what the driver has cloned meanwhile.
        """
        asked = time.monotonic()

        def lend(answer):
            if answer.get('outcome') == 'bypassed':
                return None
            check_loan(answer, body)
            return Loan(self._clonecache_daemon(), answer, asked)
        call = self._clonecache_call()
        try:
            answer = self._clonecache_send(
                context, volume, where, body, timeout=left,
                call=call if early is None else early.during(call, lend))
            loan = lend(answer) if early is None else early.loan
            if loan is None:
                raise hook.Bypassed(str(answer.get('reason')),
                                    str(answer.get('detail') or 'bypassed'))
            return answer, loan
        except Exception:
            if early is not None:
                early.undo()
            raise

    def _lending_try(self, context, volume, loan, guess=None, early=None, key=None):
        """Clone what is lent, unless that was done early, and end the loan.

        Returns the model update, or None where another one is to be asked for. Raises Unsuitable;
        then nothing is left of the volume. Where this thread is killed, nobody knows what the
        driver still does: the loan goes on, until it ends by itself or cinder-volume begins anew.
        """
        ended = source = took = None
        try:
            if not loan.lives():  # the answer came late, or was read late
                ended = 'not_made'
                return None
            source = guess.volume(loan.lent) if guess is not None else None
            if source is None:
                source = objects.Volume.get_by_id(context.elevated(), loan.lent)
            self._lending_check(volume, source)
            update = self._lending_took(volume, source, early, key)
            took = early.took if update is not None else None
            if update is None:
                begun = time.monotonic()
                update = self._lending_clone(volume, source, loan)
                took = time.monotonic() - begun
            ended = 'made'
            return update
        except exception.VolumeNotFound:
            ended = 'gone'
            return None
        except exception.SnapshotLimitReached:
            ended = 'full'
            return None
        except Exception:
            ended = 'not_made'
            raise
        finally:
            if ended == 'made':  # the volume need not wait until the daemon has written that
                if not (loan.keeps and self._lending_shelf.keep(key, loan, source, took)):
                    self._lending_later.add(loan, ended)
            elif ended is not None:
                if early is not None:
                    early.undo()
                self._lending_end(loan, ended)
            elif early is not None:
                early.leave()

    def _lending_early(self, context, volume, kept):
        """A clone of what is kept, to be made while the daemon is asked; None: none can be."""
        if kept is None:
            return None
        source = kept.source(context.elevated())
        try:
            self._lending_check(volume, source)
        except hook.Unsuitable:
            return None
        before = {name: volume[name] for name in PROVIDER_FIELDS}

        def undo(update):
            find_by(volume, update)
            return self._lending_clear(volume, before)
        return Early(kept, source, lambda: self.create_cloned_volume(volume, source), undo)

    def _lending_took(self, volume, source, early, key):
        """The model update of the early clone, if it is one of what is lent; else it is deleted.

        What is lent now was there all the time, since a volume that Cinder has deleted does not
        come back; and the loan lives. Raises Unsuitable: it cannot be deleted, and a driver may
        take what bears the volume's name for the next clone.
        """
        if early is None:
            return None
        lent = early.source.id == source.id and all(
            getattr(early.source, name) == getattr(source, name)
            for name in SOURCE_FIELDS + PROVIDER_FIELDS)
        if not lent:
            early.undo()
        check_gone(early)
        update = early.take()
        if update is None:  # the next one need not try it
            self._lending_shelf.drop(key, early.kept)
        else:
            LOG.info('%(volume)s is cloned from image-volume %(source)s in %(took).3f s',
                     {'volume': volume.name, 'source': source.id, 'took': early.took})
        return update

    def _lending_check(self, volume, source):
        mine, lent = place(volume), place(source)
        if volume_utils.extract_host(mine) != volume_utils.extract_host(lent):
            raise hook.Unsuitable('volume_differs', 'image-volume %s lies in %s, %s is to be in %s'
                                  % (source.id, lent, volume.name, mine))
        if source.volume_type_id != volume.volume_type_id:
            raise hook.Unsuitable('unsuitable', 'image-volume %s is of another volume type'
                                  % source.id)
        if source.size > volume.size:
            raise hook.Unsuitable('volume_differs', 'image-volume %s has %d GiB, %s has %d'
                                  % (source.id, source.size, volume.name, volume.size))

    def _lending_clone(self, volume, source, loan):
        """The driver's own clone. Raises SnapshotLimitReached, Unsuitable; nothing is left."""
        before = {name: volume[name] for name in PROVIDER_FIELDS}
        begun = time.monotonic()
        try:
            with loan:
                update = self.create_cloned_volume(volume, source) or {}
            self._lending_believe(loan, volume, update)
            LOG.info('%(volume)s is cloned from image-volume %(source)s in %(took).3f s',
                     {'volume': volume.name, 'source': source.id,
                      'took': time.monotonic() - begun})
            return update
        except (exception.SnapshotLimitReached, Ended):
            self._lending_clear(volume, before)
            raise
        except Exception as e:
            LOG.exception('%s is not cloned from image-volume %s', volume.name, source.id)
            self._lending_clear(volume, before)
            raise hook.Unsuitable('clone_failed', '%s: %s' % (type(e).__name__, e)) from None

    def _lending_believe(self, loan, volume, update):
        """Raise Ended where what was cloned may have been deleted, and its blocks used anew."""
        if loan.lives():
            return
        find_by(volume, update)
        raise Ended(loan)

    def _lending_clear(self, volume, before):
        """Delete what a clone that failed has left, and return whether that succeeded.

        The name is this volume's alone.
        """
        cleared = True
        try:
            self.delete_volume(volume)
        except Exception:
            LOG.exception('leftovers of %s not removed', volume.name)
            cleared = False
        for name, value in before.items():
            if volume[name] != value:
                volume[name] = value
        return cleared

    def _lending_end(self, loan, how):
        try:
            self._clonecache_daemon().end_loan(loan.id, how)
        except Exception as e:
            LOG.warning('the daemon was not told that loan %s has ended (%s): it ends by itself; '
                        '%s', loan.id, how, e)


def find_by(volume, update):
    """Let the driver find what it has made by what it has said of it."""
    for name in PROVIDER_FIELDS:
        if name in update:
            volume[name] = update[name]


def check_gone(early):
    """Raise Unsuitable where an early clone could not be deleted."""
    if early.stuck:
        raise hook.Unsuitable('clone_failed', 'the clone of image-volume %s that was begun early '
                              'could not be deleted' % early.source.id)


def place(volume):
    """host@backend#pool, or the cluster's."""
    return volume.cluster_name or volume.host


def check_loan(answer, body):
    """Raise Unsuitable where the answer lends nothing for the volume that body asks for."""
    if answer.get('outcome') not in ('hit', 'filled', 'joined'):
        raise hook.Unsuitable('bad_answer', 'unknown outcome %r' % answer.get('outcome'))
    if answer.get('volume') != body['volume']:
        raise hook.Unsuitable('bad_answer', 'volume is %r' % answer.get('volume'))
    for field in ('loan', 'lent'):
        if not isinstance(answer.get(field), str) or not answer[field]:
            raise hook.Unsuitable('bad_answer', '%s is %r' % (field, answer.get(field)))
    every = answer.get('renew_seconds', 1)
    if not isinstance(every, (int, float)) or every <= 0:
        raise hook.Unsuitable('bad_answer', 'renew_seconds is %r' % every)
