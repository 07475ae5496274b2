package page

import (
	"fmt"
	"os"
	"strings"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// axeFile is axe-core, as e2e/install.sh gets it.
const axeFile = "../../.tools/axe-core-4.10.2.min.js"

// unlabelled counts what a screen reader would have no word for.
const unlabelled = `[...document.querySelectorAll("input:not([type=hidden]), select, progress, meter, button")].filter(e =>
	!(e.labels && e.labels.length) && !e.getAttribute("aria-label") && !e.innerText.trim()).length`

// violations are what axe-core finds, in words.
const violations = `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21aa"]}).then(r => r.violations.map(v => v.id + ": " + v.nodes.map(n => n.html).slice(0, 3).join(" ")).join("\n"))`

// looks visits each page on a phone and on a desk, in light and in dark: nothing is cut off, all has a label, and axe-core, where it
// is there, finds nothing.
func (v *visit) looks(d served) {
	v.t.Helper()
	axe, err := os.ReadFile(axeFile)
	if err != nil {
		v.t.Log("axe-core is not there (e2e/install.sh gets it): labels and widths alone are looked at")
	}
	for _, path := range []string{"/ui", "/ui/fills", "/ui/entries", "/ui/events", "/ui/volume?backend=local&volume=v1", "/ui/entry/" + d.Entries(v.t)[0].ID} {
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{360, 1440} {
				v.run(chromedp.EmulateViewport(width, 800), emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
				v.goTo(path)
				v.look(fmt.Sprintf("%s, %s, %d px", path, scheme, width), string(axe))
			}
		}
	}
	v.run(chromedp.EmulateViewport(1440, 900))
}

func (v *visit) look(where, axe string) {
	v.t.Helper()
	var wide bool
	var bare int
	v.run(chromedp.Evaluate(`document.documentElement.scrollWidth > innerWidth`, &wide), chromedp.Evaluate(unlabelled, &bare))
	if wide || bare > 0 {
		v.t.Errorf("%s: cut off: %v; %d things without a label", where, wide, bare)
	}
	if axe == "" {
		return
	}
	var found string
	v.run(chromedp.Evaluate(axe, nil), chromedp.Evaluate(violations, &found, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	if found != "" {
		v.t.Errorf("%s: %s", where, strings.TrimSpace(found))
	}
}
