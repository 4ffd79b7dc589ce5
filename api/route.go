package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/vitrine-hq/vitrine/artifact"
)

// A handler parses the request, calls one use case and returns the value to
// answer with: any JSON value, or a [reply] for another status than 200. After
// (nil, nil) nothing more is written: the handler has answered by itself.
type handler func(w http.ResponseWriter, r *http.Request) (any, error)

// bodyKind says what an operation takes; the content-type guard depends on it.
type bodyKind uint8

const (
	bodyNone   bodyKind = iota // none is read
	bodyJSON                   // application/json
	bodyForm                   // multipart/form-data
	bodyFields                 // application/x-www-form-urlencoded
	bodyRaw                    // the content itself, of any type or none
)

// route is one operation of the API.
type route struct {
	method  string
	pattern string // a path of http.ServeMux, without method and host
	h       handler
	body    bodyKind
	limit   int64          // bytes of a JSON body or of form fields; 0 is [smallBody]
	scope   artifact.Scope // what the caller must hold; "" is nothing beyond being known
	public  bool           // for everybody, known or not
	login   bool           // keys and codes are tried here: one address may not ask often
	leaving bool           // a token that has expired will do, to end what it came from
	secret  bool           // the path is a capability and stays out of the logs
}

// Operation names a route from outside, as the API description does.
type Operation struct {
	Method, Pattern string
}

// table is every operation of a server.
type table []route

// operations lists the table in its order.
func (t table) operations() []Operation {
	ops := make([]Operation, len(t))
	for i, r := range t {
		ops[i] = Operation{r.method, r.pattern}
	}
	return ops
}

// mux returns the table as a handler. Routes are registered by path alone, so
// that a wrong method is told apart from an unknown path, in the dialect's
// words. It panics on a route given twice, and on patterns that conflict.
func (t table) mux(d *dialect) http.Handler {
	mux := http.NewServeMux()
	paths := make(map[string]map[string]route)
	for _, r := range t {
		methods := paths[r.pattern]
		if methods == nil {
			methods = make(map[string]route)
			paths[r.pattern] = methods
			mux.Handle(r.pattern, d.choose(r, methods))
		}
		if _, twice := methods[r.method]; twice || !strings.HasPrefix(r.pattern, "/") {
			panic(fmt.Sprintf("api: route %s %s is given twice or is no path", r.method, r.pattern))
		}
		methods[r.method] = r
	}
	noRoute := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.fail(w, r, errNoRoute) })
	for _, path := range t.tops() {
		if paths[path] == nil {
			mux.Handle(path, noRoute)
		}
	}
	return mux
}

// tops returns the root and the paths below which a route takes everything.
// Those that nothing else serves would otherwise be redirected, or answered, in
// the words of net/http.
func (t table) tops() []string {
	tops := []string{"/"}
	for _, r := range t {
		if top, _, ok := strings.Cut(r.pattern, "/{"); ok && top != "" && strings.Count(r.pattern, "{") == 1 && strings.HasSuffix(r.pattern, "...}") {
			tops = append(tops, top)
		}
	}
	slices.Sort(tops)
	return slices.Compact(tops)
}

// choose serves the route of the request's method among those of one path.
// The first of them names the path for the log where the method is wrong.
func (d *dialect) choose(first route, methods map[string]route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chosen, ok := methods[r.Method]
		if !ok && r.Method == http.MethodHead {
			chosen, ok = methods[http.MethodGet]
		}
		if !ok {
			recorderOf(w).route(first)
			w.Header().Set("Allow", allow(methods))
			d.fail(w, r, errWrongMethod)
			return
		}
		d.serve(chosen, w, r)
	})
}

// allow returns the value of the Allow header: HEAD goes with GET.
func allow(methods map[string]route) string {
	var names []string
	for m := range methods {
		names = append(names, m)
	}
	if _, ok := methods[http.MethodGet]; ok {
		names = append(names, http.MethodHead)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}
