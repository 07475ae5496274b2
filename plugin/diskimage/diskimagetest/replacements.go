package diskimagetest

import (
	"bytes"

	"github.com/clonecache/clonecache/plugin/diskimage"
)

// replacements are what people upload in place of a disk.
func replacements() []Case {
	sector := func(begin string) []byte { return append([]byte(begin), make([]byte, 2048)...) }
	ustar := edit(sector("disk.raw"), func(b []byte) { copy(b[257:], "ustar\x0000") })
	cases := []Case{
		{Name: "zip", Bytes: sector("PK\x03\x04")}, {Name: "7z", Bytes: sector("7z\xbc\xaf\x27\x1c")},
		{Name: "rar", Bytes: sector("Rar!\x1a\x07\x01\x00")}, {Name: "cpio", Bytes: sector("070701")},
		{Name: "tar", Bytes: ustar}, {Name: "old tar", Bytes: tarHeader("disk.raw")}, {Name: "ova", Bytes: tarHeader("box.ovf")},
		{Name: "tar declared qcow2", Bytes: ustar, Declared: diskimage.QCOW2}, {Name: "zip declared raw", Bytes: sector("PK\x03\x04"), Declared: diskimage.Raw},
		{Name: "tar in gzip", Bytes: Compress(diskimage.Gzip, ustar)}, {Name: "zip in xz", Bytes: Compress(diskimage.XZ, sector("PK\x03\x04"))},
		{Name: "vma", Bytes: sector("VMA\x00\x00\x00\x00\x01")}, {Name: "partclone", Bytes: sector("partclone-image")},
		{Name: "ewf", Bytes: sector("EVF\x09\x0d\x0a\xff\x00")}, {Name: "android sparse image", Bytes: sector("\x3a\xff\x26\xed\x01\x00\x00\x00")},
		{Name: "ova in zstd", Bytes: Compress(diskimage.Zstd, tarHeader("BOX.OVF"))},
	}
	for i := range cases {
		cases[i].Rule = diskimage.RuleArchive
	}
	const lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
	return append(cases,
		Case{Name: "sign-in page", Bytes: []byte("<!DOCTYPE html>\n<html><body>Please accept</body></html>\n"), Rule: diskimage.RuleNotADisk},
		Case{Name: "page behind blanks", Bytes: sector("\xef\xbb\xbf\r\n <HTML>"), Declared: diskimage.Raw, Rule: diskimage.RuleNotADisk},
		Case{Name: "XML error", Bytes: sector("<?xml version=\"1.0\"?><Error>"), Rule: diskimage.RuleNotADisk},
		Case{Name: "XML error without a declaration", Bytes: sector("<Error><Code>NoSuchKey</Code>"), Rule: diskimage.RuleNotADisk},
		Case{Name: "JSON object", Bytes: sector("{\n  \"errors\": [{}]"), Rule: diskimage.RuleNotADisk},
		Case{Name: "JSON list", Bytes: sector("[ {\"name\": \"debian-12\""), Declared: diskimage.Raw, Rule: diskimage.RuleNotADisk},
		Case{Name: "AppImage", Bytes: sector("\x7fELF\x02\x01\x01\x00AI\x02\x00"), Rule: diskimage.RuleNotADisk},
		Case{Name: "PDF", Bytes: sector("%PDF-1.7\n"), Rule: diskimage.RuleNotADisk},
		Case{Name: "torrent", Bytes: sector("d8:announce35:http://tracker.example.org/announce"), Rule: diskimage.RuleNotADisk},
		Case{Name: "machine state", Bytes: sector("LibvirtQemudSave\x02"), Rule: diskimage.RuleNotADisk},
		Case{Name: "signature", Bytes: sector("-----BEGIN PGP SIGNATURE-----\n"), Rule: diskimage.RuleNotADisk},
		Case{Name: "text", Bytes: bytes.Repeat([]byte("404 page not found\n"), 50), Rule: diskimage.RuleNotADisk},
		Case{Name: "list of digests in gzip", Bytes: Compress(diskimage.Gzip, bytes.Repeat([]byte("da39a3ee5e6b4b0d  debian-12.qcow2\r\n"), 90)), Rule: diskimage.RuleNotADisk},
		Case{Name: "page in gzip", Bytes: Compress(diskimage.Gzip, sector("<html>")), Rule: diskimage.RuleNotADisk},
		Case{Name: "LFS pointer", Bytes: []byte(lfs), Declared: diskimage.Raw, Rule: diskimage.RuleNotADisk},
		Case{Name: "one byte", Bytes: []byte("x"), Rule: diskimage.RuleSector},
		Case{Name: "511 bytes", Bytes: content(511), Declared: diskimage.Raw, Rule: diskimage.RuleSector},
		Case{Name: "511 bytes in bzip2", Bytes: Compress(diskimage.Bzip2, content(511)), Rule: diskimage.RuleSector},
	)
}
