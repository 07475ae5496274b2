// Package peers runs tests that others wrote for Cinder, once on what Cinder comes with and once on ours in its
// place. Ours may fail none that Cinder's pass.
//
// Cinder's own unit tests of its drivers and of its volume manager need Cinder with these tests (Debian:
// python3-cinder, python3-oslotest, python3-ddt), and no service; CINDER_SOURCE=DIR names a checkout of another release.
// The tests in tempest, the loads in rally and the servers in nova are scripts with a lab of Keystone, Glance and
// Cinder, which rig.sh starts and removes; each has a target of the Makefile. Tempest's tests that make volumes of
// images are a test here too.
package peers
