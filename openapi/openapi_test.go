package openapi

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// The JSON says what the YAML says.
func TestJSONIsTheYAML(t *testing.T) {
	var got, want any
	if err := json.Unmarshal(JSON(), &got); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(source, &want); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	want = nil
	if err := json.Unmarshal(again, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-YAML +JSON):\n%s", diff)
	}
}
