package kinds

import (
	"reflect"

	"github.com/clonecache/clonecache/cmd/clonecache/config"
)

// Secrets checks all files with secrets that a table's settings name, as Try does, and asks nobody.
func (t *Part) Secrets(settings config.Settings) {
	files := make(map[string]config.SecretFile)
	gather(reflect.Indirect(reflect.ValueOf(settings)), files)
	t.secrets(files)
}

// gather finds the files by their keys, also in tables that are shared by several kinds.
func gather(of reflect.Value, files map[string]config.SecretFile) {
	if of.Kind() != reflect.Struct {
		return
	}
	for i := range of.NumField() {
		field, value := of.Type().Field(i), of.Field(i)
		switch {
		case field.Anonymous:
			gather(reflect.Indirect(value), files)
		case field.Type == reflect.TypeFor[config.SecretFile]():
			files[field.Tag.Get("toml")] = config.SecretFile(value.String())
		}
	}
}
