#!/usr/bin/env bash
# Makes a release of this commit:
#
#   release.sh VERSION
#
# looks whether the checkout is clean and docs/CHANGELOG.md has a section for VERSION, runs the quick tests and
# the linter, tags the commit vVERSION, and leaves below dist/ the packages, the container image, what each
# program was built from (*.buildinfo), the section as release notes, and SHA256SUMS. What fails leaves no
# tag. Built twice of the same commit the files have the same bytes. Publishing them is somebody's own step:
# git push origin vVERSION.
set -euo pipefail
cd "$(dirname "$0")/../.."
die() { printf 'release.sh: %s\n' "$*" >&2; exit 1; }

version=${1:-}
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || die "VERSION=$version: say make release VERSION=1.2.3"
[ -z "$(git status --porcelain)" ] || die "the checkout has changes: commit them first"
! git rev-parse -q --verify "refs/tags/v$version" >/dev/null || die "v$version is tagged already: a release is never made again; take the next number"
notes=$(awk -v want="## $version" '$0 == want || index($0, want " ") == 1 { on = 1; next } /^## / { on = 0 } on' docs/CHANGELOG.md)
[ -n "${notes//[[:space:]]/}" ] || die "docs/CHANGELOG.md has no section \"## $version\": rename \"## Unreleased\", and say there how to upgrade"

make lint short
rm -rf dist
./cmd/packages/packages.sh "$version"
./cmd/packages/image.sh "$version"
printf '%s\n' "$notes" >"dist/clonecache-$version.notes.md"
for package in dist/clonecache_*.deb dist/clonecache-ceph_*.deb; do
  [ -e "$package" ] || continue
  dpkg-deb --fsys-tarfile "$package" | tar -xO ./usr/bin/clonecache >dist/.program
  go version -m dist/.program | sed '1s/.*/clonecache/' >"${package%.deb}.buildinfo"
  rm dist/.program
done
(cd dist && sha256sum -- * >SHA256SUMS)
git tag -a "v$version" -m "clonecache $version"
echo "tagged v$version; dist/ has:"
ls dist
