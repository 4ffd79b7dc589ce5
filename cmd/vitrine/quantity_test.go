package main

import (
	"testing"
	"time"
)

func TestSize(t *testing.T) {
	for text, want := range map[string]size{
		"0": 0, "none": 0, "None": 0, "": 0, "1": 1, "1048576": 1 << 20, "10MiB": 10 << 20, "10M": 10 << 20, "10m": 10 << 20,
		"10MB": 10e6, "1.5GiB": 3 << 29, "2 KiB": 2048, "7b": 7, "1TiB": 1 << 40,
	} {
		var got size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"x", "-1", "1XB", "MiB", "1e3", "inf", "NaN", "0x10", "1_0", "9999999TiB", "1 2"} {
		var got size
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken for %d bytes", text, got)
		}
	}
}

func TestAge(t *testing.T) {
	day := 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"never": 0, "0": 0, "": 0, "30d": 30 * day, "1.5d": 36 * time.Hour, "2w": 14 * day, "12h30m": 12*time.Hour + 30*time.Minute, "1ns": 1,
	} {
		var got age
		if err := got.UnmarshalText([]byte(text)); err != nil || time.Duration(got) != want {
			t.Errorf("%q: got %v, %v; want %v", text, time.Duration(got), err, want)
		}
	}
	for _, text := range []string{"5", "-1d", "d", "1y", "-3h", "0d", "99999999d", "NaNd"} {
		var got age
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken for %v", text, time.Duration(got))
		}
	}
}

func TestCount(t *testing.T) {
	var got count
	if err := got.UnmarshalText([]byte("all")); err != nil || got != 0 {
		t.Errorf("all: got %d, %v", got, err)
	}
	if err := got.UnmarshalText([]byte("10000")); err != nil || got != 10000 {
		t.Errorf("10000: got %d, %v", got, err)
	}
	for _, text := range []string{"-1", "x", "1.5"} {
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestLimit(t *testing.T) {
	for text, want := range map[string]int64{"1000": 1000, "10GiB": 10 << 30, "none": 0, "0": 0} {
		var got limit
		if err := got.UnmarshalText([]byte(text)); err != nil || !got.given || got.n == nil || *got.n != want {
			t.Errorf("%q: got %+v, %v; want %d", text, got, err, want)
		}
	}
	var got limit
	if err := got.UnmarshalText([]byte(" Default")); err != nil || !got.given || got.n != nil {
		t.Errorf("default: got %+v, %v", got, err)
	}
	for _, text := range []string{"", " ", "-1", "x", "all"} {
		if err := new(limit).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1 << 10: "1.0 KiB", 3 << 29: "1.5 GiB", 1 << 50: "1024.0 TiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%d) = %q, want %q", n, got, want)
		}
	}
}
