package e2e

import (
	"go/ast"
	"testing"
)

// Hosts' clocks differ: what one host decides by age about what all have goes by the clock of the catalog's database
// (plugin/clock.go). So no part of the plugin hands its own clock to the catalog or to the policy.
func TestAgesGoByTheDatabasesClock(t *testing.T) {
	files, set := pluginFiles(t)
	for _, f := range files {
		ast.Inspect(f.File, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !aboutAll(call.Fun) {
				return true
			}
			for _, arg := range call.Args {
				if ownClock(arg) {
					t.Errorf("%s: a host's own clock decides; take catalogTime", set.Position(arg.Pos()))
				}
			}
			return true
		})
	}
}

// aboutAll tells whether a function is one of the policy, or a method of the catalog. A catalog that is put aside is a file of
// this host's.
func aboutAll(f ast.Expr) bool {
	s, ok := f.(*ast.SelectorExpr)
	if !ok || s.Sel.Name == "OpenWhole" {
		return false
	}
	switch of := s.X.(type) {
	case *ast.Ident:
		return of.Name == "lru"
	case *ast.SelectorExpr:
		return of.Sel.Name == "catalog"
	}
	return false
}

// ownClock tells whether an argument is what now() says, or a time that is reckoned from it. A span of time is no clock's.
func ownClock(arg ast.Expr) bool {
	call, ok := arg.(*ast.CallExpr)
	if !ok {
		return false
	}
	s, ok := call.Fun.(*ast.SelectorExpr)
	return ok && (s.Sel.Name == "now" || ownClock(s.X))
}
