// Package vitrine_test holds the rules of the house that a machine can check:
// which package may import which, how long files and functions may get, which
// names are not used. STYLE.md has the reasons. Start at the table of rooms.
package vitrine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"
)

const module = "github.com/vitrine-hq/vitrine"

// A room is a package of ours and what it may import of ours.
type room struct {
	imports  string // directories; "*" is every room that is not test-only
	tests    string // what its tests may import on top of that, and of all that lies below
	stdOnly  bool   // imports nothing but the standard library
	testOnly bool   // imported by tests, never linked into a program
}

// rooms has every package. A new one is entered here, with its reason in
// ARCHITECTURE.md. A room may stand here before it is built.
var rooms = map[string]room{
	".":               {},
	"artifact":        {stdOnly: true},
	"bench":           {stdOnly: true},
	"blob":            {},
	"blob/fileblob":   {imports: "blob"},
	"blob/s3blob":     {imports: "blob"},
	"blob/blobtest":   {imports: "blob", testOnly: true},
	"store":           {imports: "artifact"},
	"store/storetest": {testOnly: true},
	"scan":            {stdOnly: true},
	"scan/scantest":   {testOnly: true},
	"depot":           {imports: "artifact blob store scan"},
	"auth":            {imports: "artifact"},
	"account":         {imports: "artifact auth store"},
	"run":             {imports: "artifact depot"},
	"api":             {imports: "artifact depot run auth account", tests: "openapi"},
	"openapi":         {},
	"web":             {},
	"client":          {imports: "artifact", tests: "api"},
	"cmd/vitrine":     {imports: "*"},
	"fault":           {imports: "blob/fileblob", testOnly: true},
	"crash":           {imports: "*", testOnly: true},
	"test/browser":    {stdOnly: true},
}

// Names that say nothing of what a package holds. The names of the standard
// library's packages are refused as well.
var bannedPackages = strings.Fields(
	"util utils common helper helpers manager misc base type types interfaces shared lib core")

// Words that have no business in a file of the project: paths of somebody's
// machine, and hosts that a build must take from its configuration. They are
// written in two halves so that this file passes its own test.
var bannedWords = []string{
	"/wor" + "k/",
	"/home/" + "runner",
	"/Users" + "/",
	"proxy.golang" + ".org",
	"sum.golang" + ".org",
	"registry.npmjs" + ".org",
	"deb.debian" + ".org",
}

const (
	maxFile, maxTestFile = 400, 600
	maxFunc, maxTestFunc = 60, 120
)

// pkg is what the tests below need of `go list -json`.
type pkg struct {
	ImportPath, Name                   string
	Imports, TestImports, XTestImports []string
}

// room returns the package's directory below the module, "." for the module itself.
func (p pkg) room() string { return roomOf(p.ImportPath) }

func roomOf(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

func ours(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

func goList(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list %s: %v\n%s", strings.Join(args, " "), err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	return out
}

// packages returns every package of the module. It fails on an empty list, so
// that no rule passes for want of something to look at.
func packages(t *testing.T) []pkg {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(string(goList(t, "-json", "./..."))))
	var all []pkg
	for {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("decode go list: %v", err)
		}
		all = append(all, p)
	}
	if len(all) < 2 {
		t.Fatalf("go list found %d packages", len(all))
	}
	return all
}

// below returns the rooms that r may import, theirs, and so on.
func below(r room) map[string]bool {
	seen := map[string]bool{}
	var walk func(names string)
	walk = func(names string) {
		for _, n := range strings.Fields(names) {
			if !seen[n] {
				seen[n] = true
				walk(rooms[n].imports)
			}
		}
	}
	walk(r.imports + " " + r.tests)
	return seen
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		r, ok := rooms[p.room()]
		if !ok {
			t.Errorf("package %s is not in the table of rooms in rules_test.go", p.room())
			continue
		}
		allowed := strings.Fields(r.imports)
		for _, imp := range p.Imports {
			name := roomOf(imp)
			switch {
			case !ours(imp):
				if r.stdOnly && strings.Contains(imp, ".") {
					t.Errorf("%s imports %s; it may use the standard library only", p.room(), imp)
				}
			case rooms[name].testOnly && !r.testOnly:
				t.Errorf("%s imports %s, which is for tests only", p.room(), name)
			case r.imports != "*" && !slices.Contains(allowed, name):
				t.Errorf("%s imports %s; it may import %q of ours", p.room(), name, r.imports)
			}
		}
		checkTestImports(t, p, r)
	}
}

// Tests use the real thing: all that lies below their package, every driver of
// what lies there, and the test-only rooms.
func checkTestImports(t *testing.T, p pkg, r room) {
	t.Helper()
	if r.imports == "*" {
		return
	}
	reach := below(r)
	for _, imp := range slices.Concat(p.TestImports, p.XTestImports) {
		name := roomOf(imp)
		switch {
		case !ours(imp), name == p.room(), reach[name], rooms[name].testOnly:
		case reach[path.Dir(name)], path.Dir(name) == p.room():
		default:
			t.Errorf("a test of %s imports %s, which lies above or beside it", p.room(), name)
		}
	}
}

// Cycles of the table would let every import pass.
func TestRoomsHaveNoCycle(t *testing.T) {
	for name, r := range rooms {
		if r.imports != "*" && below(room{imports: r.imports})[name] {
			t.Errorf("the table lets %s import itself", name)
		}
		for _, imp := range strings.Fields(r.imports + " " + r.tests) {
			if _, ok := rooms[imp]; !ok && imp != "*" {
				t.Errorf("%s may import %s, which is not in the table", name, imp)
			}
		}
	}
}

func TestProgramsLinkNoTestCode(t *testing.T) {
	for _, p := range packages(t) {
		if p.Name != "main" {
			continue
		}
		for dep := range strings.Lines(string(goList(t, "-deps", p.ImportPath))) {
			dep = strings.TrimSpace(dep)
			if dep == "testing" || ours(dep) && rooms[roomOf(dep)].testOnly {
				t.Errorf("%s links %s, which is for tests only", p.room(), dep)
			}
		}
	}
}

func TestPackageNames(t *testing.T) {
	banned := map[string]bool{}
	for _, n := range bannedPackages {
		banned[n] = true
	}
	for imp := range strings.Lines(string(goList(t, "std"))) {
		imp = strings.TrimSpace(imp)
		if !strings.Contains("/"+imp, "/internal/") && !strings.HasPrefix(imp, "vendor/") {
			banned[path.Base(imp)] = true
		}
	}
	if !banned["http"] {
		t.Fatal("go list std did not name net/http")
	}
	for _, p := range packages(t) {
		if p.room() == "." {
			continue
		}
		if base := path.Base(p.room()); banned[base] || banned[p.Name] {
			t.Errorf("package %s (%s): a name that says nothing, or one the standard library uses", p.room(), p.Name)
		} else if p.Name != "main" && p.Name != base {
			t.Errorf("package %s calls itself %s", p.room(), p.Name)
		}
	}
}

// ignoredDirs are not the project's own text.
var ignoredDirs = map[string]bool{
	".git": true, "bin": true, "node_modules": true, "dist": true, "vitrine-data": true,
}

// files calls f with every text file of the tree, by slash path.
func files(t *testing.T, f func(name string, text []byte)) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if ignoredDirs[d.Name()] {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || p == ".git" { // a file in a linked worktree
			return nil
		}
		text, err := os.ReadFile(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // somebody's temporary file
		}
		if err != nil {
			return err
		}
		if slices.Contains(text, 0) {
			return nil
		}
		seen++
		f(filepath.ToSlash(p), text)
		return nil
	})
	if err != nil {
		t.Fatalf("walk the tree: %v", err)
	}
	if seen < 5 {
		t.Fatalf("found %d files; the test does not run in the module's root", seen)
	}
}

func TestBannedWords(t *testing.T) {
	files(t, func(name string, text []byte) {
		n := 0
		for line := range strings.Lines(string(text)) {
			n++
			for _, w := range bannedWords {
				if strings.Contains(line, w) {
					t.Errorf("%s:%d: has %q", name, n, w)
				}
			}
		}
	})
}

// A source is one parsed Go file that people write.
type source struct {
	name  string
	lines int
	file  *ast.File
	fset  *token.FileSet
}

func (s source) test() bool { return strings.HasSuffix(s.name, "_test.go") }

func (s source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.name, s.fset.Position(n.Pos()).Line)
}

var parsed = sync.OnceValues(func() ([]source, error) {
	var all []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (ignoredDirs[d.Name()] || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		if ast.IsGenerated(f) {
			return nil
		}
		lines := fset.File(f.Pos()).LineCount()
		all = append(all, source{filepath.ToSlash(p), lines, f, fset})
		return nil
	})
	return all, err
})

func sources(t *testing.T) []source {
	t.Helper()
	all, err := parsed()
	if err != nil {
		t.Fatalf("parse the tree: %v", err)
	}
	if len(all) < 2 {
		t.Fatalf("found %d Go files", len(all))
	}
	return all
}

func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		fileLimit, funcLimit := maxFile, maxFunc
		if s.test() {
			fileLimit, funcLimit = maxTestFile, maxTestFunc
		}
		if s.lines > fileLimit {
			t.Errorf("%s has %d lines, more than %d", s.name, s.lines, fileLimit)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
			if n > funcLimit {
				t.Errorf("%s: %s has %d lines, more than %d", s.at(f), f.Name.Name, n, funcLimit)
			}
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	documented := map[string]bool{}
	dirs := map[string]bool{}
	for _, s := range sources(t) {
		dir := path.Dir(s.name)
		if s.test() {
			continue
		}
		dirs[dir] = true
		documented[dir] = documented[dir] || s.file.Doc != nil
		if s.file.Name.Name == "main" {
			continue // nobody can import it
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && receiverExported(d) {
					checkDoc(t, s, d, d.Name.Name, d.Doc)
				}
			case *ast.GenDecl:
				checkSpecs(t, s, d)
			}
		}
	}
	for dir := range dirs {
		if !documented[dir] {
			t.Errorf("package %s has no package comment", dir)
		}
	}
}

// Each name of a group needs words of its own, before or behind it, unless the
// group as a whole has some.
func checkSpecs(t *testing.T, s source, d *ast.GenDecl) {
	t.Helper()
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if !spec.Name.IsExported() {
				continue
			}
			doc := spec.Doc
			if doc == nil && len(d.Specs) == 1 {
				doc = d.Doc
			}
			checkDoc(t, s, spec, spec.Name.Name, doc)
		case *ast.ValueSpec:
			for _, n := range spec.Names {
				switch {
				case !n.IsExported():
				case spec.Doc == nil && spec.Comment == nil && d.Doc == nil:
					t.Errorf("%s: %s has no comment", s.at(n), n.Name)
				case !d.Lparen.IsValid() && d.Doc != nil && len(spec.Names) == 1:
					checkDoc(t, s, n, n.Name, d.Doc)
				}
			}
		}
	}
}

func checkDoc(t *testing.T, s source, n ast.Node, name string, doc *ast.CommentGroup) {
	t.Helper()
	if doc == nil {
		t.Errorf("%s: %s has no comment", s.at(n), name)
		return
	}
	text := doc.Text()
	for _, article := range []string{"A ", "An ", "The "} {
		text = strings.TrimPrefix(text, article)
	}
	rest, ok := strings.CutPrefix(text, name)
	if next, _ := utf8.DecodeRuneInString(rest); !ok || unicode.IsLetter(next) || unicode.IsDigit(next) {
		t.Errorf("%s: the comment of %s does not begin with its name", s.at(n), name)
	}
}

func receiverExported(f *ast.FuncDecl) bool {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return true
	}
	typ := f.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

// A skip tells its reader what to set, install or run.
var skipReason = regexp.MustCompile(`[A-Z][A-Z0-9]+_[A-Z0-9_]+|(^|\s)-[a-z]|` +
	`\b(PostgreSQL|Linux|root|tmpfs|mount|XFS|git|curl|python3|unzip|node|chromium|strace|clamd)\b`)

func TestTestsNeitherSleepNorSkipSilently(t *testing.T) {
	for _, s := range sources(t) {
		if !s.test() {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch x, _ := sel.X.(*ast.Ident); {
			case x == nil:
			case x.Name == "time" && sel.Sel.Name == "Sleep" && !inSynctest(s):
				t.Errorf("%s: time.Sleep; wait for the condition instead", s.at(call))
			case sel.Sel.Name == "SkipNow":
				t.Errorf("%s: SkipNow gives no reason", s.at(call))
			case sel.Sel.Name == "Skip", sel.Sel.Name == "Skipf":
				if reason := skipText(call); !skipReason.MatchString(reason) {
					t.Errorf("%s: skips with %q, which names no variable, flag or tool", s.at(call), reason)
				}
			}
			return true
		})
	}
}

// inSynctest reports whether a file uses a fake clock, in which sleeping costs nothing.
func inSynctest(s source) bool {
	return slices.ContainsFunc(s.file.Imports, func(i *ast.ImportSpec) bool {
		return i.Path.Value == `"testing/synctest"`
	})
}

// skipText joins the string literals among a call's arguments.
func skipText(call *ast.CallExpr) string {
	var b strings.Builder
	for _, arg := range call.Args {
		ast.Inspect(arg, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil {
					b.WriteString(text)
				}
			}
			return true
		})
	}
	return b.String()
}

// sqlite is translated against one exact libc; another one corrupts memory
// rather than failing to build.
func TestModuleFile(t *testing.T) {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"replace", "exclude", "tool", "toolchain"} {
		if regexp.MustCompile(`(?m)^` + word + `\b`).Match(text) {
			t.Errorf("go.mod has a %s line", word)
		}
	}
	if requires(text, "modernc.org/sqlite") == "" {
		t.Log("go.mod does not require modernc.org/sqlite")
		return
	}
	theirs := strings.TrimSpace(string(goList(t, "-m", "-f", "{{.GoMod}}", "modernc.org/sqlite")))
	need, err := os.ReadFile(theirs)
	if err != nil {
		t.Fatal(err)
	}
	got, want := requires(text, "modernc.org/libc"), requires(need, "modernc.org/libc")
	if want == "" || got != want {
		t.Errorf("go.mod has modernc.org/libc %q, modernc.org/sqlite requires %q", got, want)
	}
}

// requires returns the version that a go.mod requires of a module, or "".
func requires(gomod []byte, mod string) string {
	re := regexp.MustCompile(`(?m)^(?:require)?\s*` + regexp.QuoteMeta(mod) + `\s+(v\S+)`)
	if m := re.FindSubmatch(gomod); m != nil {
		return string(m[1])
	}
	return ""
}
