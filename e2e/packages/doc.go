// Package packages installs, upgrades and removes the Debian packages in a root of its own: what a machine
// has after debootstrap's minimal variant, and nothing of this checkout. The daemon runs there as the
// unit file says, in what of its sandbox a mount namespace can imitate.
//
// Its tests need root, debootstrap, lintian and man-db (e2e/install.sh packages), and for the first run in a
// checkout Debian's archive, of which .cache/ keeps the root; `make clean` removes it.
package packages
