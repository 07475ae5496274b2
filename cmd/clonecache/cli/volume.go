package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/clonecache/clonecache/backends"
	"github.com/clonecache/clonecache/cmd/clonecache/config"
	"github.com/clonecache/clonecache/plugin"
	"github.com/clonecache/clonecache/plugin/api"
)

func (a *app) volume() *cobra.Command {
	return group("volume", "Create, list, flatten, keep and delete volumes",
		"Volumes are what requesters get: clones of a cached image-volume, or copies. Only volumes that clonecache made are\nlisted and deleted.",
		a.volumeCreate(), a.volumeList(), a.volumeFlatten(), a.volumeKeep(), a.volumeExplain(), a.volumeDelete())
}

// createFlags are what "volume create" takes beside the image.
type createFlags struct {
	request api.CreateRequest
	name    string
	backend string
	project string
	size    config.Size
	onMiss  word
	timeout config.Duration
}

func (a *app) volumeCreate() *cobra.Command {
	f := createFlags{onMiss: word{value: string(plugin.Wait), allowed: []string{string(plugin.Wait), string(plugin.Background)}}}
	cmd := &cobra.Command{
		Use:   "create IMAGE --name NAME",
		Short: "Make a volume from an image",
		Long: `Makes a volume from an image: a clone of the cached image-volume, which the first request makes, or a copy where
the backend cannot clone.

IMAGE is SOURCE:ID, an ID that only one source has, or a URL below an http source. Repeating a request whose volume
exists succeeds; a volume of that name which another request made is a conflict and stays untouched.

Exit code 4: no volume was made and nothing is wrong, the cache stepped aside (outcome bypassed, with the reason).`,
		Example: `  clonecache volume create library:debian-12.qcow2 --name web-1 --size 10GiB
  clonecache volume create web:trixie/disk.raw --name web-2 --backend local --on-miss background
  clonecache volume create library:app.raw --name app-1 --digest sha256:9f86d081… -o json`,
		Args: exactly("IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.name == "" {
				return &usageError{errors.New("--name is missing")}
			}
			f.request.Image = args[0]
			return a.createVolume(cmd.Context(), &f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "the volume's name on the backend (required)")
	flags.Var(&f.size, "size", "its size, such as 10GiB, 512MiB or bytes; default: the image's own")
	flags.StringVar(&f.backend, "backend", "", "where to make it; needed where there are several")
	flags.Var(&f.onMiss, "on-miss", "while the image is not cached: wait for the fill, or let it go on in the background")
	flags.StringVar(&f.request.Digest, "digest", "", "what the image's bytes must match: sha256:HEX or sha512:HEX; default: the source's")
	flags.StringVar(&f.request.DiskFormat, "disk-format", "", "the image's format; default: the source's claim, else what is detected")
	flags.BoolVar(&f.request.Transfer, "transfer", false, "offer it to another project of Cinder, on a backend of kind cinder; prints what accepts it, once")
	flags.StringVar(&f.project, "project", "", "ID of the project whose volume it is to be, for max_fills_per_project; default: none, and not bounded by that")
	flags.Var(&f.timeout, "timeout", "give up after this time; nothing is left then; default: never")
	flags.Lookup("timeout").DefValue = "" // it says so itself
	a.completeBackends(cmd)
	completes(cmd, "on-miss", fixed(f.onMiss.allowed...))
	completes(cmd, "disk-format", fixed("raw", "qcow2"))
	cmd.ValidArgsFunction = a.completeImages
	return cmd
}

func (a *app) createVolume(ctx context.Context, f *createFlags) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	r := f.request
	r.Backend, r.Volume = backends.Name(f.backend), backends.VolumeName(f.name)
	r.ProjectID = plugin.ProjectID(f.project)
	r.SizeBytes, r.OnMiss = int64(f.size), plugin.OnMiss(f.onMiss.value)
	if f.timeout > 0 {
		// The daemon answers at the deadline; the call gives it a moment for that.
		const moment = 5 * time.Second
		r.Deadline = a.Now().Add(time.Duration(f.timeout))
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(f.timeout)+moment)
		defer cancel()
	}
	m := a.meter(r.Image)
	answer, err := c.CreateVolume(ctx, r, m.request)
	m.finish()
	if err != nil {
		return err
	}
	if err := a.print(answer, func(t *table) { showAnswer(t, answer) }); err != nil {
		return err
	}
	if answer.Outcome == plugin.Bypassed {
		return errBypassed
	}
	return nil
}

func showAnswer(t *table, v plugin.Answer) {
	t.line("%s: %s in %s: %s", v.Volume, v.Outcome, took(v.TookMS), explained(t.look, v))
	if v.Outcome == plugin.Bypassed {
		return
	}
	place := v.Path
	if place == "" {
		place = string(v.VolumeID)
	}
	t.line("  %s (%s on %s, from %s)", place, t.size(v.SizeBytes), v.Backend, v.ImageID)
	if v.Transfer != nil {
		t.line("  in the project that is to have it: openstack volume transfer request accept --auth-key %s %s", string(v.Transfer.Key), v.Transfer.ID)
	}
}

// explained says an outcome and its reason in a sentence.
func explained(l look, v plugin.Answer) string {
	s := ""
	switch v.Outcome {
	case plugin.Hit:
		s = "cloned from the cached image-volume"
		if v.Reason == plugin.ReasonRepeated {
			s = "an earlier request made it"
		}
	case plugin.Filled:
		s = "made the image-volume, then cloned it"
		if v.MissCause == plugin.MissSameContent {
			s = "read the image, then cloned the image-volume that there is of it"
		}
	case plugin.Joined:
		s = "waited for another request's fill, then cloned"
	case plugin.Direct:
		s = "cloned from the image itself, which lies on the same backend"
	case plugin.Copied:
		s = fmt.Sprintf("from the file cache (%s), reason %s", v.CopyMethod, v.Reason)
	case plugin.Bypassed:
		s = fmt.Sprintf("no volume was made, reason %s", v.Reason)
	}
	if v.Detail != "" {
		s += ": " + v.Detail
	}
	if v.DownloadedBytes > 0 {
		s += "; read " + l.size(v.DownloadedBytes) + " of the image"
	}
	return s
}

func (a *app) volumeList() *cobra.Command {
	var backend string
	sorted := sorting[plugin.VolumeView]{orders: volumeOrders}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the volumes that clonecache made",
		Long: `Lists the volumes that clonecache made, with the image that each was made from, and what it still shares blocks with.

Of a volume with a word under KEPT perhaps nobody knows: unanswered, the daemon ended before it answered; unproved, the
answer may have been lost with the host's power or with a restored state_dir, or another host may have answered; in_use,
its requester was told that there is none, and somebody has it open or has written to it. It stays until it is asked
for again, or "volume keep" or "volume delete" says what is to become of it.

Exit code 9: a backend does not answer; the volumes of the others are listed, and standard error names it.`,
		Example: `  clonecache volume list
  clonecache volume list --backend local -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, args []string) error {
			var partly error // of some backends, beside the volumes of the others
			err := ask(a, func(ctx context.Context, c *api.Client) ([]plugin.VolumeView, error) {
				volumes, err := c.Volumes(ctx, backends.Name(backend))
				sorted.sort(volumes)
				if volumes != nil {
					partly, err = err, nil
				}
				return volumes, err
			}, showVolumes)(cmd, args)
			if err != nil || partly == nil {
				return err
			}
			return a.saidPartly(cmd.Context(), partly)
		},
	}
	cmd.Flags().StringVar(&backend, "backend", "", "only those of this backend")
	sorted.flag(cmd)
	a.completeBackends(cmd)
	return cmd
}

func showVolumes(t *table, volumes []plugin.VolumeView) {
	t.head("VOLUME", "BACKEND", "SIZE", "IMAGE", "ENTRY", "WHOLE", "KEPT", "DEPENDS ON", "PATH")
	id := shortIDs(volumes, func(v plugin.VolumeView) string { return v.EntryID })
	t.spare("ENTRY", "WHOLE", "KEPT", "DEPENDS ON", "PATH", "BACKEND", "SIZE")
	for _, v := range volumes {
		t.row(string(v.Volume), string(v.Backend), t.size(v.SizeBytes), v.ImageID, id(v.EntryID), yesNo(v.Complete), string(v.Kept), v.DependsOn, v.Path)
	}
}
