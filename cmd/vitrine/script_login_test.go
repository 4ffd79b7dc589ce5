package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// shownCode is how vitrine login shows a code.
var shownCode = regexp.MustCompile(`approve the code ([A-Z]{4}-[A-Z]{4})\n`)

func approve(ts *testscript.TestScript, _ *world, args []string) error {
	var code string
	err := until(func() error {
		text, err := os.ReadFile(ts.MkAbs(args[0] + ".err"))
		if err != nil {
			return err
		}
		found := shownCode.FindSubmatch(text)
		if found == nil {
			return fmt.Errorf("%s shows no code:\n%s", args[0], text)
		}
		code = string(found[1])
		return nil
	})
	if err != nil {
		return err
	}
	resp, err := http.PostForm(ts.Getenv("VITRINE_SERVER")+"/device", url.Values{"user_code": {code}, "api_key": {args[1]}, "action": {"approve"}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the page answers %s:\n%s", resp.Status, text)
	}
	return err
}

func field(ts *testscript.TestScript, _ *world, args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	words := strings.Fields(ts.ReadFile(args[2]))
	if n < 1 || n > len(words) {
		return fmt.Errorf("%s has %d words", args[2], len(words))
	}
	ts.Setenv(args[0], words[n-1])
	return nil
}
