package kinds

import (
	"github.com/clonecache/clonecache/cmd/clonecache/config"
)

// The words of image_volumes.
const (
	imageVolumesCinder  = "cinder"  // image-volumes are volumes that Cinder made
	imageVolumesOutside = "outside" // Cinder does not know of them
)

// inCinder are the keys of kinds whose image-volumes may be volumes in Cinder.
type inCinder struct {
	CinderType   string `toml:"volume_type"`
	ImageVolumes string `toml:"image_volumes"`
}

// VolumeType implements Backend.
func (b *inCinder) VolumeType() string { return b.CinderType }

// check checks where the image-volumes are, and fills the default in: in Cinder where the tenant is.
func (b *inCinder) check(t *config.Table) {
	cinder := t.Config.InternalTenant.Of != nil && OfTenant(t.Config.InternalTenant).Cinder()
	if b.ImageVolumes == "" {
		b.ImageVolumes = imageVolumesOutside
		if cinder {
			b.ImageVolumes = imageVolumesCinder
		}
	}
	t.OneOf("image_volumes", b.ImageVolumes, imageVolumesCinder, imageVolumesOutside)
	switch {
	case b.ImageVolumes != imageVolumesCinder:
		if b.CinderType != "" {
			t.Problem("volume_type", "its image-volumes are outside of Cinder", `remove it, or set image_volumes = "cinder" and [internal_tenant] kind = "openstack"`)
		}
	case !cinder:
		t.Problem("image_volumes", "there is no Cinder", `set [internal_tenant] kind = "openstack", or use "outside"`)
	case b.CinderType == "":
		t.Problem("volume_type", "it is missing", `name the Cinder volume type whose volumes land in this pool, or set image_volumes = "outside"`)
	}
	t.Once("volume_type", b.CinderType, "give each backend a volume type of its own")
}
