package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is the long help.
func (c *completionCmd) Help() string {
	return `Examples:

  source <(vitrine completion bash)
  vitrine completion zsh > "${fpath[1]}/_vitrine"
  vitrine completion fish > ~/.config/fish/completions/vitrine.fish`
}

// Run writes the script.
func (c *completionCmd) Run(a *app, k *kong.Kong) error {
	write := map[string]func(io.Writer, *kong.Application) error{"bash": bash, "zsh": zsh, "fish": fish}[c.Shell]
	if err := write(a.stdout, k.Model); err != nil {
		return fmt.Errorf("write script: %w", err)
	}
	return nil
}

// visible returns the commands that a person sees right below a node.
func visible(n *kong.Node) []*kong.Node {
	return slices.DeleteFunc(slices.Clone(n.Children), func(c *kong.Node) bool { return c.Hidden })
}

func names(list []*kong.Node) string {
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = n.Name
	}
	return strings.Join(words, " ")
}

// flagsOf returns the flags of a command with their dashes.
func flagsOf(n *kong.Node) []string {
	var list []string
	for _, group := range n.AllFlags(true) {
		for _, f := range group {
			list = append(list, "--"+f.Name)
			if f.Tag.Negatable != "" {
				list = append(list, "--no-"+f.Name)
			}
			if f.Short != 0 {
				list = append(list, "-"+string(f.Short))
			}
		}
	}
	return list
}

// eachCommand calls f with every command that does something, and with the name
// of the one above it, or "".
func eachCommand(m *kong.Application, f func(above string, n *kong.Node)) {
	for _, n := range visible(m.Node) {
		inner := visible(n)
		if len(inner) == 0 {
			f("", n)
		}
		for _, c := range inner {
			f(n.Name, c)
		}
	}
}

// groups calls f with every command that has others below it.
func groups(m *kong.Application, f func(n *kong.Node, inner []*kong.Node)) {
	for _, n := range visible(m.Node) {
		if inner := visible(n); len(inner) > 0 {
			f(n, inner)
		}
	}
}

func bash(w io.Writer, m *kong.Application) error {
	var cases, inner strings.Builder
	eachCommand(m, func(above string, n *kong.Node) {
		name := strings.TrimPrefix(above+" "+n.Name, " ")
		fmt.Fprintf(&cases, "    '%s') words='%s' ;;\n", name, strings.Join(flagsOf(n), " "))
	})
	groups(m, func(n *kong.Node, list []*kong.Node) {
		fmt.Fprintf(&inner, "    %s) inner='%s' ;;\n", n.Name, names(list))
	})
	_, err := fmt.Fprintf(w, `_vitrine() {
  local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} words= inner=
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '%s' -- "$word"))
    return
  fi
  case $command in
%s  esac
  if [ -n "$inner" ]; then
    if [ "$COMP_CWORD" -eq 2 ]; then
      COMPREPLY=($(compgen -W "$inner" -- "$word"))
      return
    fi
    command="$command ${COMP_WORDS[2]}"
  fi
  case $command in
%s  esac
  case $word in
    -*) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
    *)  COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
}
complete -o filenames -F _vitrine vitrine
`, names(visible(m.Node)), inner.String(), cases.String())
	return err
}

// described returns commands with their help, as zsh takes them.
func described(list []*kong.Node) string {
	var b strings.Builder
	for _, n := range list {
		fmt.Fprintf(&b, " '%s:%s'", n.Name, quoted(n.Help))
	}
	return b.String()
}

func zsh(w io.Writer, m *kong.Application) error {
	var cases, inner strings.Builder
	eachCommand(m, func(above string, n *kong.Node) {
		name := strings.TrimPrefix(above+" "+n.Name, " ")
		fmt.Fprintf(&cases, "    '%s') flags=(%s) ;;\n", name, strings.Join(flagsOf(n), " "))
	})
	groups(m, func(n *kong.Node, list []*kong.Node) {
		fmt.Fprintf(&inner, "    %s) inner=(%s) ;;\n", n.Name, described(list))
	})
	_, err := fmt.Fprintf(w, `#compdef vitrine
_vitrine() {
  local -a commands flags inner
  local command=$words[2]
  commands=(%s)
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  case $command in
%s  esac
  if (( $#inner )); then
    if (( CURRENT == 3 )); then
      _describe command inner
      return
    fi
    command="$command $words[3]"
  fi
  case $command in
%s  esac
  if [[ $PREFIX == -* ]]; then compadd -- $flags; else _files; fi
}
_vitrine "$@"
`, described(visible(m.Node)), inner.String(), cases.String())
	return err
}

func fish(w io.Writer, m *kong.Application) error {
	var b strings.Builder
	for _, n := range visible(m.Node) {
		fmt.Fprintf(&b, "complete -c vitrine -n __fish_use_subcommand -f -a %s -d '%s'\n", n.Name, quoted(n.Help))
	}
	groups(m, func(n *kong.Node, list []*kong.Node) {
		for _, c := range list {
			fmt.Fprintf(&b, "complete -c vitrine -n '__fish_seen_subcommand_from %s; and not __fish_seen_subcommand_from %s' -f -a %s -d '%s'\n",
				n.Name, names(list), c.Name, quoted(c.Help))
		}
	})
	eachCommand(m, func(above string, n *kong.Node) {
		seen := "__fish_seen_subcommand_from " + n.Name
		if above != "" {
			seen = "__fish_seen_subcommand_from " + above + "; and " + seen
		}
		for _, group := range n.AllFlags(true) {
			for _, f := range group {
				fmt.Fprintf(&b, "complete -c vitrine -n '%s' -l %s -d '%s'", seen, f.Name, quoted(f.Help))
				if f.Short != 0 {
					fmt.Fprintf(&b, " -s %c", f.Short)
				}
				if !f.IsBool() {
					b.WriteString(" -r")
				}
				b.WriteByte('\n')
			}
		}
	})
	_, err := io.WriteString(w, b.String())
	return err
}

// quoted returns a text for between single quotes of a shell.
func quoted(s string) string {
	return strings.NewReplacer("'", "’", "\n", " ", `\`, "/").Replace(s)
}
