// Package openapi holds the description of the API, openapi.yaml, which people
// write and programs read as JSON. It is text only: package api serves it and
// its tests hold every answer against it.
package openapi

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"sync"

	"go.yaml.in/yaml/v3"
)

//go:embed openapi.yaml
var source []byte

// JSON returns the description as JSON, in the order of openapi.yaml. The
// result must not be changed.
func JSON() []byte { return converted() }

var converted = sync.OnceValue(func() []byte {
	var doc yaml.Node
	if err := yaml.Unmarshal(source, &doc); err != nil {
		panic("openapi: " + err.Error()) // a fault of the build
	}
	var b bytes.Buffer
	if err := write(&b, doc.Content[0]); err != nil {
		panic("openapi: " + err.Error())
	}
	b.WriteByte('\n')
	return b.Bytes()
})

// write appends n as JSON. Decoding into maps would lose the order.
func write(b *bytes.Buffer, n *yaml.Node) error {
	switch n.Kind {
	case yaml.AliasNode:
		return write(b, n.Alias)
	case yaml.SequenceNode:
		return list(b, "[]", n.Content, func(i int) error { return write(b, n.Content[i]) })
	case yaml.MappingNode:
		keys := n.Content[:len(n.Content)/2] // as many as there are pairs
		return list(b, "{}", keys, func(i int) error {
			if err := text(b, n.Content[2*i].Value); err != nil {
				return err
			}
			b.WriteByte(':')
			return write(b, n.Content[2*i+1])
		})
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	return text(b, v)
}

func list(b *bytes.Buffer, brackets string, items []*yaml.Node, item func(i int) error) error {
	b.WriteByte(brackets[0])
	for i := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := item(i); err != nil {
			return err
		}
	}
	b.WriteByte(brackets[1])
	return nil
}

func text(b *bytes.Buffer, v any) error {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the line end
	return nil
}
