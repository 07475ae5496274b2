#!/usr/bin/env bash
# Runs a command once for each database server (servers.sh), and wipes the servers afterwards. What the servers print goes
# to standard error. The command is run on all of them, whatever fails.
#
#   with-servers.sh go test -tags databases ./plugin/catalog
#   with-servers.sh COMMAND... and COMMAND...    several commands, one after the other, whatever fails
#
#   DATABASES_DIR=DIR DATABASES_PORT=N DATABASES=NAMES   as in servers.sh; default: the tests' own, at 32600
#   CLONECACHE_TEST_CATALOG is set for the command: a server's URL without a database, that of Galera with all of its
#   nodes; CLONECACHE_TEST_PASSWORD_FILE and CLONECACHE_TEST_CA_FILE too
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export DATABASES_DIR=${DATABASES_DIR:-/tmp/clonecache-databases-test}

trap '"$here/servers.sh" wipe >&2' EXIT
"$here/servers.sh" up >&2
variables=$("$here/servers.sh" env)
for v in $variables; do
  export "${v?}"
done
code=0

# each runs the commands between the words "and".
each() {
  local command=()
  while [ $# -gt 0 ]; do
    if [ "$1" = and ]; then
      "${command[@]}" || code=$?
      command=()
    else
      command+=("$1")
    fi
    shift
  done
  "${command[@]}" || code=$?
}

for v in $variables; do
  case $v in
    CLONECACHE_TEST_*_FILE=*) ;;
    CLONECACHE_TEST_*=*)
      echo "== ${v%%=*}" >&2
      export CLONECACHE_TEST_CATALOG=${v#*=}
      each "$@"
      ;;
  esac
done
exit $code
