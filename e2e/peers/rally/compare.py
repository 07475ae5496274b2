#!/usr/bin/python3
"""compare.py DIR TIMES  judges the loads of rally.sh, in DIR/cinder-TURN.json and DIR/clonecache-TURN.json

All TIMES iterations of both were without a failure, and the 95th percentile of making a volume with clonecache is at
most a third of that with Cinder's own cache. Exit code 1 otherwise.
"""

import glob
import json
import sys

ACTIONS = (('create', 'cinder_v3.create_volume'), ('delete', 'cinder_v3.delete_volume'))


def load(directory, name):
    """The turns of one cache as one load."""
    turns = []
    for path in sorted(glob.glob('%s/%s-*.json' % (glob.escape(directory), name))):
        with open(path) as file:
            turns.append(json.load(file)['tasks'][-1]['subtasks'][0]['workloads'][0])
    return {'data': [iteration for turn in turns for iteration in turn['data']],
            'load_duration': sum(turn['load_duration'] for turn in turns)}


def seconds(workload, action):
    """How long an action took in each iteration that did not fail, shortest first."""
    return sorted(one['finished_at'] - one['started_at'] for iteration in workload['data'] if not iteration['error']
                  for one in iteration['atomic_actions'] if one['name'] == action)


def percentile(of, percent):
    return of[min(len(of) - 1, len(of) * percent // 100)] if of else float('nan')


def failures(workload):
    return [iteration['error'] for iteration in workload['data'] if iteration['error']]


def row(name, action, took):
    print('%-11s %-7s %8.2f %8.2f %8.2f %8.2f' % (name, action, percentile(took, 50), percentile(took, 90),
                                                  percentile(took, 95), took[-1] if took else float('nan')))


def main(directory, times):
    loads = {name: load(directory, name) for name in ('cinder', 'clonecache')}
    wrong = []
    print('%-11s %-7s %8s %8s %8s %8s   (seconds)' % ('cache', '', 'median', 'p90', 'p95', 'most'))
    for name, workload in loads.items():
        for action, atomic in ACTIONS:
            row(name, action, seconds(workload, atomic))
        failed = failures(workload)
        print('%-11s %d iterations, %d failed, %.1f s in all' % (
            name, len(workload['data']), len(failed), workload['load_duration']))
        wrong.extend('%s: %s' % (name, ' '.join(map(str, error))[:300]) for error in failed)
        if len(workload['data']) != times:
            wrong.append('%s: %d iterations, want %d' % (name, len(workload['data']), times))
    p95 = {action: [percentile(seconds(workload, atomic), 95) for workload in loads.values()] for action, atomic in ACTIONS}
    for action, (theirs, ours) in p95.items():
        print('p95 of %s: %.2f of that with Cinder\'s cache' % (action, ours / theirs))
    theirs, ours = p95['create']
    if not ours <= theirs / 3:
        wrong.append('p95 of making a volume is %.2f s, want a third of %.2f s at most' % (ours, theirs))
    for line in wrong:
        print('WRONG: ' + line)
    return 1 if wrong else 0


if __name__ == '__main__':
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
