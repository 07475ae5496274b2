#!/usr/bin/env bash
# Builds dist/clonecache-VERSION.oci.tar, a container image of the static program, without a container engine.
#
#   image.sh VERSION      DIST=DIR: where it goes; default dist/
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# = 1 ] || { echo "usage: image.sh VERSION" >&2; exit 2; }
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dist=${DIST:-$PWD/dist}
mkdir -p "$dist"
CGO_ENABLED=0 GOFLAGS= go build -trimpath -buildvcs=auto -ldflags "-s -w -X main.version=$1" -o "$work/clonecache" ./cmd/clonecache
certificates=/etc/ssl/certs/ca-certificates.crt
[ -e $certificates ] || certificates=
go run ./cmd/ociimage -program "$work/clonecache" -version "$1" -certificates "$certificates" -out "$dist/clonecache-$1.oci.tar"
echo "$dist/clonecache-$1.oci.tar"
