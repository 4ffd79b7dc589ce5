package main

import (
	"fmt"
	"io"
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

// leaves returns the commands that a person sees.
func leaves(m *kong.Application) []*kong.Node { return m.Leaves(true) }

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

func names(m *kong.Application) string {
	var list []string
	for _, n := range leaves(m) {
		list = append(list, n.Name)
	}
	return strings.Join(list, " ")
}

func bash(w io.Writer, m *kong.Application) error {
	var cases strings.Builder
	for _, n := range leaves(m) {
		fmt.Fprintf(&cases, "    %s) words='%s' ;;\n", n.Name, strings.Join(flagsOf(n), " "))
	}
	_, err := fmt.Fprintf(w, `_vitrine() {
  local word=${COMP_WORDS[COMP_CWORD]} words=
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '%s' -- "$word"))
    return
  fi
  case ${COMP_WORDS[1]} in
%s  esac
  case $word in
    -*) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
    *)  COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
}
complete -o filenames -F _vitrine vitrine
`, names(m), cases.String())
	return err
}

func zsh(w io.Writer, m *kong.Application) error {
	var commands, cases strings.Builder
	for _, n := range leaves(m) {
		fmt.Fprintf(&commands, "    '%s:%s'\n", n.Name, quoted(n.Help))
		fmt.Fprintf(&cases, "    %s) flags=(%s) ;;\n", n.Name, strings.Join(flagsOf(n), " "))
	}
	_, err := fmt.Fprintf(w, `#compdef vitrine
_vitrine() {
  local -a commands flags
  commands=(
%s  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  case $words[2] in
%s  esac
  if [[ $PREFIX == -* ]]; then compadd -- $flags; else _files; fi
}
_vitrine "$@"
`, commands.String(), cases.String())
	return err
}

func fish(w io.Writer, m *kong.Application) error {
	var b strings.Builder
	for _, n := range leaves(m) {
		fmt.Fprintf(&b, "complete -c vitrine -n __fish_use_subcommand -f -a %s -d '%s'\n", n.Name, quoted(n.Help))
		for _, group := range n.AllFlags(true) {
			for _, f := range group {
				fmt.Fprintf(&b, "complete -c vitrine -n '__fish_seen_subcommand_from %s' -l %s -d '%s'", n.Name, f.Name, quoted(f.Help))
				if f.Short != 0 {
					fmt.Fprintf(&b, " -s %c", f.Short)
				}
				if !f.IsBool() {
					b.WriteString(" -r")
				}
				b.WriteByte('\n')
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// quoted returns a text for between single quotes of a shell.
func quoted(s string) string {
	return strings.NewReplacer("'", "’", "\n", " ", `\`, "/").Replace(s)
}
