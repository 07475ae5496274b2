#!/usr/bin/env bash
# Builds Debian packages below dist/ from this checkout, with dpkg-deb alone:
#
#   clonecache                the program without C libraries: static, for directories of volumes
#   clonecache-ceph           the same with RBD; provides clonecache and takes its place
#   python3-clonecache-cinder the driver hook for cinder-volume
#
#   packages.sh VERSION [PACKAGE...]      DIST=DIR: where they go; default dist/
#
# The same commit gives the same bytes: files bear the time of SOURCE_DATE_EPOCH (default: the commit's), and
# belong to root. clonecache-ceph is made where librbd's headers are installed, and else left out with a
# word. What Debian's policy asks for (changelog, copyright, checksums, man pages) is made from the
# checkout's own files.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
cd "$top"
export LC_ALL=C.UTF-8 TZ=UTC
umask 022

[ $# -ge 1 ] || { echo "usage: packages.sh VERSION [PACKAGE...]" >&2; exit 2; }
version=$1
shift
wanted=${*:-clonecache clonecache-ceph python3-clonecache-cinder}
if [[ ! $version =~ ^[0-9][0-9A-Za-z.+~]*$ ]]; then
  echo "packages.sh: VERSION=$version: a Debian version begins with a digit and has letters, digits, '.', '+', '~' only" >&2
  exit 2
fi

export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
architecture=$(dpkg --print-architecture)
maintainer="clonecache maintainers <maintainers@clonecache.invalid>"
dist=${DIST:-$top/dist}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$dist"

main() {
  local package
  go build -trimpath -o "$work/manpages" ./cmd/manpages
  for package in $wanted; do
    root=$work/$package
    mkdir -p "$root/DEBIAN"
    case $package in
      clonecache) program_without_c && daemon_files && control_of_clonecache ;;
      clonecache-ceph) program_with_ceph || continue; daemon_files && control_of_ceph ;;
      python3-clonecache-cinder) hook_files && control_of_hook ;;
      *) echo "packages.sh: no package $package" >&2; exit 2 ;;
    esac
    documentation
    pack
  done
}

# build OUT [GOFLAGS...] builds the program.
build() {
  local out=$1
  shift
  go build -trimpath -buildvcs=auto -ldflags "-s -w -X main.version=$version" "$@" -o "$out" ./cmd/clonecache
}

program_without_c() {
  CGO_ENABLED=0 GOFLAGS= build "$root/usr/bin/clonecache"
}

program_with_ceph() {
  if [[ $(make -s print-tags) != *ceph* ]]; then
    echo "packages.sh: clonecache-ceph is left out: librbd has no headers here (e2e/install.sh ceph installs them)" >&2
    return 1
  fi
  CGO_ENABLED=1 GOFLAGS="-tags=$(make -s print-tags)" build "$root/usr/bin/clonecache"
}

# daemon_files are what both packages of the program have beside it.
daemon_files() {
  put 644 "$here/conf/clonecache.toml" etc/clonecache/clonecache.toml
  echo /etc/clonecache/clonecache.toml >"$root/DEBIAN/conffiles"
  mkdir -p "$root/lib/systemd/system"
  sed -e 's,/usr/local/bin/,/usr/bin/,' -e '/^# Install as/,/^$/d' docs/systemd/clonecache.service >"$root/lib/systemd/system/clonecache.service"
  put 644 docs/systemd/clonecache.sysusers usr/lib/sysusers.d/clonecache.conf
  put 644 docs/systemd/clonecache.tmpfiles usr/lib/tmpfiles.d/clonecache.conf
  sed -i '/^# Install as/d' "$root"/usr/lib/{sysusers,tmpfiles}.d/clonecache.conf
  put 644 "$here/conf/volumes.conf" "usr/share/doc/$package/examples/volumes.conf"
  put 644 "$here/conf/nfs.conf" "usr/share/doc/$package/examples/nfs.conf"
  put 644 docs/monitoring/clonecache.rules.yml usr/share/clonecache/monitoring/clonecache.rules.yml
  put 644 docs/monitoring/clonecache.dashboard.json usr/share/clonecache/monitoring/clonecache.dashboard.json
  local page
  for page in docs/*.md; do # the changelog lies there as policy wants it
    [ "$page" = docs/CHANGELOG.md ] || put 644 "$page" "usr/share/doc/$package/${page##*/}"
  done
  for page in docs/pictures/*.png docs/adr/*.md; do put 644 "$page" "usr/share/doc/$package/${page#docs/}"; done # which these link to
  "$work/manpages" "$root/usr/share/man/man1" "$version"
  find "$root/usr/share/man" -type f -exec gzip -9n {} +
  completion bash usr/share/bash-completion/completions/clonecache
  completion zsh usr/share/zsh/vendor-completions/_clonecache
  completion fish usr/share/fish/vendor_completions.d/clonecache.fish
  local script
  for script in postinst prerm postrm; do put 755 "$here/debian/$script" "DEBIAN/$script"; done
}

hook_files() {
  local file
  for file in plugin/cinder/clonecache_cinder/*.py; do
    put 644 "$file" "usr/lib/python3/dist-packages/clonecache_cinder/${file##*/}"
  done
  put 755 "$here/debian/hook.postinst" DEBIAN/postinst
  put 755 "$here/debian/hook.prerm" DEBIAN/prerm
}

# put MODE FROM TO copies a file into the package.
put() { install -D -m "$1" "$2" "$root/$3"; }

completion() {
  mkdir -p "$root/$(dirname "$2")"
  "$root/usr/bin/clonecache" completion "$1" >"$root/$2"
}

control() { # NAME DEPENDS DESCRIPTION... ; further fields come on standard input
  {
    printf 'Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: %s\n' "$package" "$version" "$1" "$maintainer"
    printf 'Section: %s\nPriority: optional\nHomepage: https://github.com/clonecache/clonecache\n' "$2"
    printf 'Installed-Size: %s\n' "$(du -sk --exclude=DEBIAN "$root" | cut -f1)"
    cat
  } >"$root/DEBIAN/control"
}

control_of_clonecache() {
  control "$architecture" admin <<CONTROL
Depends: systemd | systemd-standalone-sysusers | systemd-sysusers
Recommends: ca-certificates
Suggests: python3-clonecache-cinder
Conflicts: clonecache-ceph
Replaces: clonecache-ceph
Description: volumes from disk images, by cloning a cached image-volume
 The first request for an image makes a cached image-volume on the storage
 backend, owned by an internal tenant; every volume is a clone of it. The
 cache is bounded by size and count, and steps aside whatever goes wrong.
 .
 This package serves directories of volumes (reflinks on XFS and btrfs, copies
 elsewhere) and needs no library. clonecache-ceph serves Ceph pools too.
CONTROL
}

control_of_ceph() {
  control "$architecture" admin <<CONTROL
Depends: systemd | systemd-standalone-sysusers | systemd-sysusers, $(libraries)
Recommends: ca-certificates
Suggests: ceph-common, python3-clonecache-cinder
Provides: clonecache (= $version)
Conflicts: clonecache
Replaces: clonecache
Description: volumes from disk images, by cloning a cached image-volume (Ceph)
 The first request for an image makes a cached image-volume on the storage
 backend, owned by an internal tenant; every volume is a clone of it. The
 cache is bounded by size and count, and steps aside whatever goes wrong.
 .
 This package serves Ceph pools through librbd, and directories of volumes.
CONTROL
}

control_of_hook() {
  control all python <<CONTROL
Depends: python3:any (>= 3.9)
Recommends: cinder-volume
Suggests: clonecache
Description: Cinder volume drivers that have clonecache clone volumes from images
 Cinder's own RBD and NFS drivers with clonecache before them: a volume from
 an image that is cached is a clone. Whatever goes wrong with the cache, Cinder
 makes the volume as it does without it. Cinder itself stays unmodified.
CONTROL
}

# libraries are the packages of the C libraries that the program is linked with, in the versions whose
# symbols it uses.
libraries() {
  mkdir -p "$work/shlibs/debian"
  printf 'Source: clonecache\n\nPackage: clonecache-ceph\nArchitecture: any\n' >"$work/shlibs/debian/control"
  (cd "$work/shlibs" && dpkg-shlibdeps -O "$root/usr/bin/clonecache" 2>/dev/null) | sed -n 's/^shlibs:Depends=//p'
}

documentation() {
  local doc=$root/usr/share/doc/$package
  mkdir -p "$doc"
  {
    printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: clonecache\n\n'
    printf 'Files: *\nCopyright: %s clonecache maintainers\nLicense: Apache-2.0\n' "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y)"
    printf ' On Debian systems the text of the licence is in /usr/share/common-licenses/Apache-2.0.\n'
  } >"$doc/copyright"
  {
    printf 'clonecache (%s) unstable; urgency=medium\n\n  * See changelog.gz for what changed.\n\n' "$version"
    printf ' -- %s  %s\n' "$maintainer" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
  } | gzip -9n >"$doc/changelog.Debian.gz"
  gzip -9nc docs/CHANGELOG.md >"$doc/changelog.gz"
  if [ -e "$root/usr/bin/clonecache" ]; then
    put 644 "$here/debian/lintian-overrides" "usr/share/lintian/overrides/$package"
    sed -i "s/@PACKAGE@/$package/" "$root/usr/share/lintian/overrides/$package"
  fi
}

# pack writes the package: whole, or not at all.
pack() {
  (cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
  chmod 644 "$root/DEBIAN/md5sums" "$root/DEBIAN/control"
  local name
  name=${package}_${version}_$(sed -n 's/^Architecture: //p' "$root/DEBIAN/control").deb
  dpkg-deb --root-owner-group -Zxz --build "$root" "$work/$name" >/dev/null
  mv "$work/$name" "$dist/$name"
  echo "$dist/$name"
}

main
