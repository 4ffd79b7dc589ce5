package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/vitrine-hq/vitrine/client"
)

// A login that ended while nothing was sent is renewed; then the files are sent
// again, if they can be read again.
func TestUploadAfterRenewal(t *testing.T) {
	err := fmt.Errorf("%w (%w)", client.ErrRenewed, &client.Error{Status: 401})
	for _, again := range []bool{true, false} {
		u := &uploading{sources: []source{{again: true}, {again: again}}}
		if next, got := u.next(t.Context(), err); got != again {
			t.Errorf("with files that can be read again (%v): %v, %q", again, got, next)
		}
	}
	u := &uploading{sources: []source{{again: true}}}
	if next, got := u.next(t.Context(), errors.Join(&client.Error{Status: 401})); got {
		t.Errorf("without a renewal: %q", next)
	}
}
