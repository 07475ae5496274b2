// Package openstack is the internal tenant under OpenStack: image-volumes are volumes that Cinder made for
// the tenant's ordinary user, so that Cinder's own quota is charged for them, before a byte is downloaded.
//
// It only speaks to Cinder's API: what is written into such a volume, and removed from it again, is the
// backend's business. What a claim is made of stands in the volume's metadata; nothing is kept on disk. A
// volume without that metadata is never touched.
package openstack

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/clonecache/clonecache/internaltenant"
	"github.com/clonecache/clonecache/internaltenant/keystone"
)

// Backend is one whose image-volumes are Cinder's volumes.
type Backend struct {
	Name       string // as in ClaimSpec
	VolumeType string // whose volumes land on this backend and on no other
	Content    Content
}

// Content says what a claim's volume has in it.
type Content int

const (
	// Empty: the backend writes it.
	Empty Content = iota
	// OfImage: Cinder fills it with the image. The claim is made once Cinder has begun; the backend waits for the end.
	OfImage
)

// Config describes the internal tenant.
type Config struct {
	Account *keystone.Account
	// Catalog is the ID of the catalog that claims belong to: its installation may share the project with others,
	// whatever their backends are called. Without it nothing can be claimed, settled or released.
	Catalog  string
	Backends []Backend // those that adopt Cinder's volumes
	// Others accounts for all other backends. Required.
	Others internaltenant.Owner
	// OthersExist tells that there are such backends, so that their limits are the tenant's too.
	OthersExist Existence
	// Patience is how long Cinder may take to make or to remove a volume. Default 60 s.
	Patience time.Duration
}

// Existence says whether there is any.
type Existence int

const (
	// None: there are no other backends.
	None Existence = iota
	// Some: there are.
	Some
)

// Owner is an internaltenant.Owner in Cinder.
//
// A crash leaves at most a volume whose metadata names its entry: Claims lists it, and Release removes it.
// Claims bear the ID of their catalog: another catalog's are neither seen nor touched, and a backend's name is
// a label. Those of older versions bear none, and are told as unsure.
type Owner struct {
	config Config
	types  map[string]string  // of backends that adopt, by name
	made   map[string]Backend // the same backends
	locks  locks
	doomed doomed
}

var (
	_ internaltenant.Owner       = (*Owner)(nil)
	_ internaltenant.Detailed    = (*Owner)(nil)
	_ internaltenant.VolumeMaker = (*Owner)(nil)
	_ internaltenant.Finder      = (*Owner)(nil)
)

// New checks config and asks nobody anything. Two backends may not have one volume type.
func New(config Config) (*Owner, error) {
	if config.Account == nil || config.Others == nil {
		return nil, errors.New("internal tenant: an account, and an owner for the other backends, are needed")
	}
	if config.Patience < 0 {
		return nil, fmt.Errorf("internal tenant: patience %v is negative", config.Patience)
	}
	if config.Patience == 0 {
		config.Patience = time.Minute
	}
	o := &Owner{config: config, types: make(map[string]string), made: make(map[string]Backend)}
	taken := make(map[string]string)
	for _, b := range config.Backends {
		if b.Name == "" || b.VolumeType == "" {
			return nil, fmt.Errorf("internal tenant: backend %q needs a volume type", b.Name)
		}
		if other, twice := taken[b.VolumeType]; twice {
			return nil, fmt.Errorf("internal tenant: backends %s and %s share volume type %s: give each its own", other, b.Name, b.VolumeType)
		}
		taken[b.VolumeType], o.types[b.Name], o.made[b.Name] = b.Name, b.VolumeType, b
	}
	return o, nil
}

// MakesVolumes implements internaltenant.VolumeMaker.
func (o *Owner) MakesVolumes(backend string) bool { return o.types[backend] != "" }

// Claim implements internaltenant.Owner. Cinder makes an empty volume and charges its quota for it; Claim
// returns once the volume can be used. When ctx ends first, or Cinder fails, the volume is removed again.
// ErrOverQuota carries Cinder's words.
func (o *Owner) Claim(ctx context.Context, spec internaltenant.ClaimSpec) (internaltenant.Claim, error) {
	of, adopts := o.made[spec.Backend]
	if !adopts {
		return o.config.Others.Claim(ctx, spec)
	}
	if o.config.Catalog == "" {
		return internaltenant.Claim{}, errors.New("claim: the internal tenant was not told whose claims these are")
	}
	if spec.EntryID == "" || spec.VirtualBytes < 1 {
		return internaltenant.Claim{}, fmt.Errorf("claim for entry %q of %d bytes: not a claim", spec.EntryID, spec.VirtualBytes)
	}
	claim, err := o.claim(ctx, spec, of)
	if err != nil {
		return internaltenant.Claim{}, fmt.Errorf("claim for entry %s, attempt %d: %w", spec.EntryID, spec.Attempt, err)
	}
	return claim, nil
}

func (o *Owner) claim(ctx context.Context, spec internaltenant.ClaimSpec, of Backend) (internaltenant.Claim, error) {
	unlock, err := o.locks.lock(ctx, fmt.Sprintf("%s/%d/%d", spec.EntryID, spec.Attempt, spec.Generation))
	if err != nil {
		return internaltenant.Claim{}, err
	}
	defer unlock()
	c, err := o.cinder(ctx)
	if err != nil {
		return internaltenant.Claim{}, err
	}
	v, err := c.find(ctx, spec)
	if errors.Is(err, errNoVolume) {
		v, err = o.create(ctx, c, spec, of)
	}
	if err != nil {
		return internaltenant.Claim{}, err
	}
	if of.Content == OfImage {
		return v.claim(), nil
	}
	if v, err = c.await(ctx, v, o.config.Patience); err != nil {
		return internaltenant.Claim{}, o.abandon(ctx, c, v.ID, err)
	}
	return v.claim(), nil
}

// Find implements internaltenant.Finder.
func (o *Owner) Find(ctx context.Context, spec internaltenant.ClaimSpec) (internaltenant.Claim, error) {
	c, err := o.cinder(ctx)
	if err != nil {
		return internaltenant.Claim{}, err
	}
	v, err := c.findAny(ctx, spec)
	if errors.Is(err, errNoVolume) {
		err = internaltenant.ErrUnknownClaim
	}
	if err == nil && v.Metadata[metaCatalog] != c.catalog {
		err = c.note(ctx, v.ID, metaCatalog, c.catalog)
		v.Metadata[metaCatalog] = c.catalog
	}
	if err != nil {
		return internaltenant.Claim{}, fmt.Errorf("claim of entry %s, attempt %d: %w", spec.EntryID, spec.Attempt, err)
	}
	return v.claim(), nil
}

// create asks Cinder for the volume. Where the answer is lost, the volume may exist all the same: it is
// looked for.
func (o *Owner) create(ctx context.Context, c *cinder, spec internaltenant.ClaimSpec, of Backend) (volume, error) {
	v, err := c.create(ctx, spec, of)
	if err == nil || !lost(ctx, err) {
		return v, err
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.config.Patience)
	defer cancel()
	v, findErr := c.find(late, spec)
	switch {
	case errors.Is(findErr, errNoVolume): // it may still appear
		o.doomed.add(spec)
		return volume{}, err
	case findErr != nil:
		o.doomed.add(spec)
		return volume{}, err
	case ctx.Err() != nil:
		return volume{}, o.abandon(ctx, c, v.ID, err)
	}
	return v, nil
}

// lost tells an error after which the volume may exist from one by which Cinder refuses it.
func lost(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, internaltenant.ErrUnavailable)
}

// abandon removes what a claim that came to nothing has made, and returns why it came to nothing.
func (o *Owner) abandon(ctx context.Context, c *cinder, id string, cause error) error {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.config.Patience)
	defer cancel()
	if err := c.remove(late, id, o.config.Patience); err != nil {
		o.doomed.addID(id)
		return fmt.Errorf("%w (and volume %s stays until it can be removed: %v)", cause, id, err)
	}
	return cause
}

// Settle implements internaltenant.Owner. The volume becomes read-only and reserved, by which Cinder keeps
// it from being deleted or attached by mistake.
func (o *Owner) Settle(ctx context.Context, id internaltenant.ClaimID) error {
	err := o.config.Others.Settle(ctx, id)
	if !errors.Is(err, internaltenant.ErrUnknownClaim) || !isVolumeID(id) {
		return err
	}
	c, err := o.cinder(ctx)
	if err == nil {
		err = c.settle(ctx, string(id))
	}
	if errors.Is(err, errNoVolume) {
		err = internaltenant.ErrUnknownClaim
	}
	if err != nil {
		return fmt.Errorf("settle claim %s: %w", id, err)
	}
	return nil
}

// Release implements internaltenant.Owner. It returns once Cinder has removed the volume.
func (o *Owner) Release(ctx context.Context, id internaltenant.ClaimID) error {
	if err := o.config.Others.Release(ctx, id); err != nil || !isVolumeID(id) {
		return err
	}
	c, err := o.cinder(ctx)
	if err == nil {
		err = c.remove(ctx, string(id), o.config.Patience)
	}
	if err != nil {
		return fmt.Errorf("release claim %s: %w", id, err)
	}
	return nil
}

// Claims implements internaltenant.Owner.
func (o *Owner) Claims(ctx context.Context) ([]internaltenant.Claim, error) {
	claims, err := o.config.Others.Claims(ctx)
	if err != nil || len(o.types) == 0 {
		return claims, err
	}
	c, err := o.cinder(ctx)
	if err != nil {
		return nil, fmt.Errorf("list claims: %w", err)
	}
	o.removeDoomed(ctx, c)
	volumes, err := o.ours(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("list claims: %w", err)
	}
	for _, v := range volumes {
		claims = append(claims, v.claim())
	}
	return claims, nil
}

// ours are the volumes of this catalog, and those of older versions, which may be.
func (o *Owner) ours(ctx context.Context, c *cinder) ([]volume, error) {
	all, err := c.list(ctx, nil)
	if err != nil {
		return nil, err
	}
	var ours []volume
	for _, v := range all {
		if c.ours(v) && v.Status != statusDeleting {
			ours = append(ours, v)
		}
	}
	return ours, nil
}

// cinder is Cinder's API with a session that is valid now.
func (o *Owner) cinder(ctx context.Context) (*cinder, error) {
	session, err := o.config.Account.Session(ctx)
	if err != nil {
		return nil, err
	}
	var api *gophercloud.ServiceClient
	if api, err = o.config.Account.Cinder(ctx); err != nil {
		return nil, err
	}
	return &cinder{api: api, project: session.ProjectID, user: session.UserID, catalog: o.config.Catalog}, nil
}
