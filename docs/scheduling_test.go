package docs

import (
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/stack"
)

// keys returns the keys of a configuration, those of its parts with a dot.
func keys(of reflect.Type, prefix string) []string {
	var list []string
	for i := range of.NumField() {
		field := of.Field(i)
		key := prefix + field.Tag.Get("yaml")
		_, isText := reflect.New(field.Type).Interface().(interface{ UnmarshalText([]byte) error })
		if field.Type.Kind() == reflect.Struct && !isText {
			list = append(list, keys(field.Type, key+".")...)
			continue
		}
		list = append(list, key)
	}
	return list
}

func TestEveryKeyOfTheSchedulerIsExplained(t *testing.T) {
	document := read(t, filepath.Join(root, "docs/scheduling.md"))
	got, want := column(section(t, document, "## All keys")), keys(reflect.TypeFor[stack.Execution](), "")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("docs/scheduling.md explains %q, the keys are %q", got, want)
	}
}

func TestEveryPresetIsExplained(t *testing.T) {
	document := read(t, filepath.Join(root, "docs/scheduling.md"))
	if got, want := column(section(t, document, "## Which action comes next")), queue.Presets(); !slices.Equal(got, want) {
		t.Errorf("docs/scheduling.md explains %q, the presets are %q", got, want)
	}
}

func TestSchedulersOfTheDocsCanBeRead(t *testing.T) {
	document := read(t, filepath.Join(root, "docs/scheduling.md"))
	examples := found("(?s)```yaml\n(.*?)```", document)
	if len(examples) != 2 {
		t.Fatalf("there are %d examples, want one of the server and one of a worker", len(examples))
	}
	var server struct {
		Listen          string `yaml:"listen_address"`
		stack.Execution `yaml:",inline"`
	}
	if err := stack.Decode([]byte(examples[0]), &server); err != nil {
		t.Error(err)
	}
	if server.Sizes.Key != "size" || server.Policy.String() != "fair-priority" || time.Duration(server.NoWorkerTimeout) != 10*time.Minute {
		t.Errorf("read %+v", server)
	}
	var worker stack.Worker
	if err := stack.Decode([]byte(examples[1]), &worker); err != nil {
		t.Error(err)
	}
	if !slices.Contains(worker.Platform, "container-image=*") {
		t.Errorf("read %+v", worker)
	}
}
