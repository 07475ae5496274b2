#!/usr/bin/python3
"""compare.py DIR LEAST ASKED  judges the runs of tempest.sh, whose files lie in DIR

A test must come to the same in stock.subunit and ours.subunit, at least LEAST pass, and the daemon was asked for
every volume that Cinder made of an image, at least ASKED of them. Exit code 1, and what differs, otherwise. Where there
is no stock.subunit, all of ours must have passed.
"""

import collections
import io
import json
import os
import re
import sys

import subunit
import testtools

CAME_TO = {'success': 'passed', 'xfail': 'passed', 'fail': 'failed', 'uxsuccess': 'failed', 'inprogress': 'failed',
           'skip': 'skipped'}
FROM_IMAGE = re.compile(r'Volume ([0-9a-f-]{36}): being created as image')


def outcomes(path):
    """What each test came to; the setting-up of a class counts where it fails or skips."""
    came_to, took = {}, []

    def one(test):
        status = CAME_TO.get(test['status'])
        if status:
            name = test['id'].split('[')[0]
            came_to[name] = status, reason(test)
            took.extend(t for t in test['timestamps'] if t)
    result = testtools.ExtendedToStreamDecorator(testtools.StreamToDict(one))
    result.startTestRun()
    with open(path, 'rb') as stream:
        subunit.ProtocolTestCase(stream, passthrough=io.BytesIO()).run(result)
    result.stopTestRun()
    return came_to, (max(took) - min(took)).total_seconds() if took else 0


def reason(test):
    texts = [d.as_text().strip() for name, d in test['details'].items() if name in ('reason', 'traceback')]
    return texts[0].splitlines()[-1][:200] if texts and texts[0] else ''


def of(came_to, status):
    return {name for name, (what, _) in came_to.items() if what == status}


def print_table(stock, ours):
    print('%-8s %6s %7s %8s %7s %8s' % ('driver', 'ran', 'passed', 'skipped', 'failed', 'seconds'))
    for name, (came_to, seconds) in (("Cinder's", stock), ('ours', ours)):
        if not came_to:
            continue
        counts = [len(of(came_to, status)) for status in ('passed', 'skipped', 'failed')]
        print('%-8s %6d %7d %8d %7d %8.0f' % (name, sum(counts), *counts, seconds))


def differences(stock, ours):
    for name in sorted(stock.keys() | ours.keys()):
        theirs, mine = stock.get(name, ('did not run', '')), ours.get(name, ('did not run', ''))
        if theirs[0] != mine[0]:
            yield "%s: %s with Cinder's driver, %s with ours. %s" % (name, theirs[0], mine[0], mine[1] or theirs[1])


def not_asked_for(directory, least):
    """What is wrong with the daemon's report, beside the volumes that Cinder's log says were made of images."""
    with open(directory + '/report.json') as file:
        outcomes = collections.Counter(json.load(file)['total']['outcomes'])
    with open(directory + '/ours-cinder-volume.log') as file:
        made = set(FROM_IMAGE.findall(file.read()))
    asked = sum(outcomes.values())
    print('%d volumes made of images, %d asked of clonecache: %s' % (
        len(made), asked, ', '.join('%s %d' % one for one in sorted(outcomes.items()) if one[1])))
    if asked != len(made):
        yield '%d volumes were made of images, and %d asked of clonecache' % (len(made), asked)
    if asked < least or not outcomes['filled'] or not outcomes['hit']:
        yield 'want %d volumes or more asked for, fills and hits among them' % least


def main(directory, least, asked):
    stock, ours = directory + '/stock.subunit', outcomes(directory + '/ours.subunit')
    stock = outcomes(stock) if os.path.exists(stock) else ({}, 0)
    print_table(stock, ours)
    stock, ours = stock[0] or {name: ('passed', '') for name in ours[0]}, ours[0]
    for name in sorted(of(stock, 'failed') & of(ours, 'failed')):
        print('fails with both: %s: %s' % (name, stock[name][1]))
    wrong = list(differences(stock, ours)) + list(not_asked_for(directory, asked))
    if len(of(ours, 'passed')) < least:
        wrong.append('%d tests passed, want %d or more' % (len(of(ours, 'passed')), least))
    for line in wrong:
        print('WRONG: ' + line)
    return 1 if wrong else 0


if __name__ == '__main__':
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
