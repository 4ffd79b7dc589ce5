// Package crash breaks the whole server and looks at what is left: it is killed
// (crash_test.go; what it said of its library, library_*_test.go), its file
// operations fail or end it (nth_test.go), the power is cut (power_test.go) and
// the disk is full (full_test.go). It also holds what can only be seen of the
// whole: cursors under concurrency (cursors_test.go) and what an operation costs
// (cost_test.go). It has tests only. Start at TestCrash.
package crash

import (
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

var (
	crashDuration = flag.Duration("crash.duration", 10*time.Second, "how long TestCrash kills servers")
	crashCycles   = flag.Int("crash.cycles", 3, "how often TestCrash kills a server at least")
	crashSeed     = flag.Uint64("crash.seed", 0, "of what the tests choose; 0 takes one from the clock")
)

// role is the variable that makes this binary a child instead of a test.
const role = "VITRINE_TEST_ROLE"

// children are what a child may be.
var children = map[string]func() error{
	"script": scriptChild,
}

func TestMain(m *testing.M) {
	if name := os.Getenv(role); name != "" {
		if err := children[name](); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	if *crashSeed == 0 {
		*crashSeed = uint64(time.Now().UnixNano())
	}
	code := m.Run()
	if product.dir != "" {
		os.RemoveAll(product.dir)
	}
	os.Exit(code)
}

// product is the program, built once.
var product struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// program returns the path of the program that is killed: the product itself,
// built as it is delivered.
func program(t testing.TB) string {
	t.Helper()
	product.once.Do(func() {
		if product.dir, product.err = os.MkdirTemp("", "vitrine-crash-"); product.err != nil {
			return
		}
		product.path = filepath.Join(product.dir, "vitrine")
		build := exec.Command("go", "build", "-o", product.path, "../cmd/vitrine")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			product.err = fmt.Errorf("build vitrine: %w\n%s", err, out)
		}
	})
	if product.err != nil {
		t.Fatal(product.err)
	}
	return product.path
}

// random returns a source that a run with the same -crash.seed repeats. What
// the scheduler does is not repeated.
func random(t testing.TB) *rand.Rand {
	t.Helper()
	t.Logf("-crash.seed=%d", *crashSeed)
	name := fnv.New64a()
	name.Write([]byte(t.Name()))
	return rand.New(rand.NewPCG(*crashSeed, name.Sum64()))
}

// fork returns a source of its own for another goroutine.
func fork(rng *rand.Rand) *rand.Rand { return rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64())) }
