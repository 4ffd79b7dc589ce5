package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// size is a number of bytes, written as 1048576, 1MiB, 1M or 1.5GB.
type size int64

var units = map[string]float64{
	"": 1, "b": 1,
	"k": 1 << 10, "kib": 1 << 10, "kb": 1e3,
	"m": 1 << 20, "mib": 1 << 20, "mb": 1e6,
	"g": 1 << 30, "gib": 1 << 30, "gb": 1e9,
	"t": 1 << 40, "tib": 1 << 40, "tb": 1e12,
}

// UnmarshalText reads a size; "none" and "" are 0.
func (s *size) UnmarshalText(b []byte) error {
	text := strings.ToLower(strings.TrimSpace(string(b)))
	if text == "none" || text == "" {
		*s = 0
		return nil
	}
	i := strings.LastIndexAny(text, "0123456789.") + 1
	number, err := strconv.ParseFloat(text[:i], 64)
	unit, known := units[strings.TrimSpace(text[i:])]
	if n := number * unit; err != nil || !known || n < 0 || n >= math.MaxInt64 || strings.ContainsAny(text[:i], "ex_np") {
		return fmt.Errorf("%q is no size; write one like 10MiB", b)
	}
	*s = size(math.Round(number * unit))
	return nil
}

// age is a long time, written as 30d, 2w, 12h30m; "never" is 0.
type age time.Duration

// UnmarshalText reads an age.
func (a *age) UnmarshalText(b []byte) error {
	text := strings.ToLower(strings.TrimSpace(string(b)))
	if text == "never" || text == "none" || text == "" || text == "0" {
		*a = 0
		return nil
	}
	for unit, long := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		number, ok := strings.CutSuffix(text, unit)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || !(n > 0 && n*float64(long) < math.MaxInt64) {
			return errAge(b)
		}
		*a = age(n * float64(long))
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return errAge(b)
	}
	*a = age(d)
	return nil
}

func errAge(b []byte) error { return fmt.Errorf("%q is no age; write one like 30d, 12h or never", b) }

// limit is a limit of a tenant's own: a number, none, or that of the server.
type limit struct {
	given bool
	n     *int64 // nil is the server's
}

// UnmarshalText reads a limit as a size, "none" or "default".
func (l *limit) UnmarshalText(b []byte) error {
	l.given, l.n = true, nil
	if strings.EqualFold(strings.TrimSpace(string(b)), "default") {
		return nil
	}
	var n size
	if err := n.UnmarshalText(b); err != nil || len(strings.TrimSpace(string(b))) == 0 {
		return fmt.Errorf("%q is no limit; write one like 1000, 10GiB, none or default", b)
	}
	l.n = (*int64)(&n)
	return nil
}

// count is how many of something are kept; "all" is 0.
type count int64

// UnmarshalText reads a count.
func (c *count) UnmarshalText(b []byte) error {
	text := strings.ToLower(strings.TrimSpace(string(b)))
	if text == "all" || text == "" {
		*c = 0
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is no number; write one like 10000, or all", b)
	}
	*c = count(n)
	return nil
}

// truth is a switch that takes everything but 1, true and yes for "off", as
// the variable does under its older name.
type truth bool

// Decode reads the value of a flag, which may be left out, or of a variable.
func (t *truth) Decode(ctx *kong.DecodeContext) error {
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		*t = true
		return nil
	}
	var text string
	if err := ctx.Scan.PopValueInto("bool", &text); err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "1", "true", "yes":
		*t = true
	default:
		*t = false
	}
	return nil
}

// IsBool lets the flag stand without a value.
func (t *truth) IsBool() bool { return true }

// bytesText returns a number of bytes for people.
func bytesText(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB"} {
		if value /= 1 << 10; value < 1<<10 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}
