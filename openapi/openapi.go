// Package openapi holds the description of the API, which people write as YAML
// and programs read as JSON. It is text only: package api serves it and its
// tests hold every answer against it. Start at openapi.yaml, which describes the
// session half; the other files add to it.
package openapi

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"sync"

	"go.yaml.in/yaml/v3"
)

//go:embed *.yaml
var files embed.FS

// parts are the files of the description in its order. What the first one has,
// the others add to: tags, paths, components.
var parts = []string{"openapi.yaml", "library.yaml", "accounts.yaml", "oauth.yaml"}

// JSON returns the description as JSON, in the order of its files. The result
// must not be changed.
func JSON() []byte { return converted() }

var converted = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	doc, err := whole()
	if err == nil {
		err = write(&b, doc)
	}
	if err != nil {
		panic("openapi: " + err.Error()) // a fault of the build
	}
	b.WriteByte('\n')
	return b.Bytes()
})

// whole returns the description as one mapping.
func whole() (*yaml.Node, error) {
	all := &yaml.Node{Kind: yaml.MappingNode}
	for _, name := range parts {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var doc yaml.Node
		if err := yaml.Unmarshal(text, &doc); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if err := join(all, doc.Content[0], name); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// join adds what a mapping holds to another one. Lists grow and mappings are
// joined; anything else that both have is an error, which says where.
func join(to, from *yaml.Node, place string) error {
	for i := 0; i < len(from.Content); i += 2 {
		key, value := from.Content[i], from.Content[i+1]
		place := place + " " + key.Value
		has := member(to, key.Value)
		switch {
		case has == nil:
			to.Content = append(to.Content, key, value)
		case has.Kind == yaml.SequenceNode && value.Kind == yaml.SequenceNode:
			has.Content = append(has.Content, value.Content...)
		case has.Kind != yaml.MappingNode || value.Kind != yaml.MappingNode:
			return fmt.Errorf("%s is given twice", place)
		default:
			if err := join(has, value, place); err != nil {
				return err
			}
		}
	}
	return nil
}

// member returns the value of a key, or nil.
func member(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

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
