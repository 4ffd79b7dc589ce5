package openapi

import (
	"encoding/json"
	"io/fs"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// The JSON says what the YAML says.
func TestJSONIsTheYAML(t *testing.T) {
	var got any
	if err := json.Unmarshal(JSON(), &got); err != nil {
		t.Fatal(err)
	}
	if all, err := fs.Glob(files, "*.yaml"); err != nil || len(all) != len(parts) {
		t.Errorf("there are %v, %v, and these are described: %v", all, err, parts)
	}
	want := map[string]any{}
	for _, name := range parts {
		text, err := files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var doc any
		if err := yaml.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		part := map[string]any{}
		if err := json.Unmarshal(again, &part); err != nil {
			t.Fatal(err)
		}
		if tags, ok := part["tags"].([]any); ok && want["tags"] != nil {
			part["tags"] = append(want["tags"].([]any), tags...)
		}
		for key, value := range part {
			if m, ok := value.(map[string]any); ok && want[key] != nil {
				below(want[key].(map[string]any), m)
				continue
			}
			want[key] = value
		}
	}
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("(-YAML +JSON):\n%s", diff)
	}
}

// below adds what is new in from, at most one level down.
func below(to, from map[string]any) {
	for key, value := range from {
		if m, ok := value.(map[string]any); ok && to[key] != nil {
			maps.Copy(to[key].(map[string]any), m)
			continue
		}
		to[key] = value
	}
}

// What two files say of one place must not get lost.
func TestJoinTellsOfConflicts(t *testing.T) {
	node := func(text string) *yaml.Node {
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(text), &n); err != nil {
			t.Fatal(err)
		}
		return n.Content[0]
	}
	all := node("{paths: {/a: {get: {summary: one}}}, tags: [a]}")
	if err := join(all, node("{paths: {/a: {put: {summary: two}}}, tags: [b]}"), "more.yaml"); err != nil {
		t.Fatal(err)
	}
	var got any
	if err := all.Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"tags": []any{"a", "b"}, "paths": map[string]any{"/a": map[string]any{
		"get": map[string]any{"summary": "one"}, "put": map[string]any{"summary": "two"},
	}}}
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	err := join(all, node("{paths: {/a: {get: {summary: three}}}}"), "more.yaml")
	if err == nil || err.Error() != "more.yaml paths /a get summary is given twice" {
		t.Errorf("conflict: %v", err)
	}
}
