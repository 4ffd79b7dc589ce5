package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/vitrine-hq/vitrine/account"
	"github.com/vitrine-hq/vitrine/api"
	"github.com/vitrine-hq/vitrine/blob"
	"github.com/vitrine-hq/vitrine/blob/fileblob"
	"github.com/vitrine-hq/vitrine/depot"
	"github.com/vitrine-hq/vitrine/openapi"
	"github.com/vitrine-hq/vitrine/store"
)

// drainTime is how long a server that was told to stop waits for uploads and
// downloads to end. Followers are told at once.
const drainTime = 30 * time.Second

// server is a running server with everything that it has to close.
type server struct {
	c       *serveCmd
	log     *slog.Logger
	metrics *metrics
	dir     *dataDir
	db      *store.DB
	depot   *depot.Depot
	api     *api.Server

	access    access
	accounts  *account.Accounts
	bootstrap string         // key that the first one is to be, or empty
	firstKey  string         // that was made at this start, to be shown once
	closers   []func() error // in the order of opening
	servers   []*http.Server
	serving   sync.WaitGroup
	failed    chan error // a listener that ended by itself
}

// Run serves until it is interrupted. Everything that was acknowledged is
// durable already, so that a second interrupt may end it at once.
func (c *serveCmd) Run(ctx context.Context, app *app) (err error) {
	log, err := c.logger(app.stderr)
	if err != nil {
		return err
	}
	s := &server{c: c, log: log, metrics: newMetrics(), failed: make(chan error, 4)}
	defer func() { err = errors.Join(err, s.close()) }()
	if s.access, err = c.resolve(c.Listen); err != nil {
		return err
	}
	main, err := listenTCP(ctx, c.Listen)
	if err != nil {
		return err
	}
	defer main.Close() // where nothing serves it yet
	if err := s.open(ctx, main.Addr().String()); err != nil {
		return err
	}
	addresses, err := s.listen(ctx, main)
	if err != nil {
		return err
	}
	if err := s.greet(app.stdout, addresses); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case err = <-s.failed:
	case <-s.db.Failed():
		// What is durable is unknown now. The disk knows: start again from it.
		err = fmt.Errorf("the database cannot be trusted any more: %w", s.db.Err())
	}
	log.Info("shutting down")
	return errors.Join(err, s.drain())
}

// open opens the data directory and what lies in it, for a server that listens
// at an address.
func (s *server) open(ctx context.Context, address string) (err error) {
	key, tenant, err := s.c.bootstrapKey()
	if err != nil {
		return err
	}
	s.bootstrap = key
	if s.dir, err = openDataDir(s.c.Data, s.c.DB); err != nil {
		return err
	}
	s.closers = append(s.closers, s.dir.Close)
	if s.db, err = s.openStore(ctx, tenant); err != nil {
		return err
	}
	s.closers = append(s.closers, s.db.Close)
	driver, err := fileblob.Open(s.dir.blobs(), fileblob.Options{})
	if err != nil {
		return err
	}
	options := s.c.depotOptions(s.dir, s.log)
	if err := s.c.scanSettings.apply(ctx, &options, s.log); err != nil {
		return err
	}
	s.depot, err = depot.Open(ctx, s.db, blob.New(driver), options)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.depot.Close)
	issuer := s.c.issuer(address, s.log)
	if err := s.openAccounts(ctx, issuer); err != nil {
		return err
	}
	s.metrics.watch(s.depot, s.accounts, &s.access)
	s.access.api.Tenant = s.db.FirstTenant()
	s.api, err = api.New(api.Config{
		Depot: s.depot, Accounts: s.accounts, Log: s.log, Version: version, PublicURL: issuer, CORSOrigins: s.c.CORSOrigins,
		Access: s.access.api, Rates: s.access.rates,
		UploadIdle: s.c.UploadIdleTimeout, UploadTimeout: s.c.UploadTimeout, DataURILimit: int64(s.c.DataURILimit),
		OpenAPI: openapi.JSON(), Hooks: s.metrics.hooks(),
	})
	return err
}

func (s *server) openStore(ctx context.Context, firstTenant string) (*store.DB, error) {
	opt := store.Options{Committed: s.metrics.committed, Quota: s.access.quota, FirstTenant: firstTenant}
	if s.c.DB != "" {
		return store.OpenPostgres(ctx, s.c.DB, opt)
	}
	return store.OpenSQLite(ctx, s.dir.database(), opt)
}

// listening is where a server can be reached.
type listening struct {
	api, metrics string
}

// listen starts the API, the metrics and the admin socket.
func (s *server) listen(ctx context.Context, main net.Listener) (listening, error) {
	var at listening
	at.api = main.Addr().String()
	wrap, stopTracing, err := startTracing(ctx)
	if err != nil {
		return at, err
	}
	s.closers = append(s.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return stopTracing(ctx)
	})
	s.serve(main, wrap(s.api.Handler()))
	side, err := s.listenMetrics(ctx)
	if err != nil {
		return at, err
	}
	at.metrics = side.Addr().String()
	s.serve(side, s.metrics.handler(side.Addr()))
	admin, err := listenAdmin(filepath.Join(s.dir.path, adminSocket))
	if err != nil {
		return at, err
	}
	s.serve(admin, adminHandler(holdings{depot: s.depot, accounts: s.accounts, rate: s.access.rates.Tenant}))
	return at, nil
}

// listenTCP listens on an address.
func listenTCP(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, withHint(fmt.Errorf("%s is in use", address), `another server may be running; choose another address with --listen`)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}

// listenMetrics takes a free port where the default one is taken; one that was
// asked for is an error then.
func (s *server) listenMetrics(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.c.MetricsListen)
	if errors.Is(err, syscall.EADDRINUSE) && s.c.MetricsListen == defaultMetricsListen {
		l, err = lc.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("listen for metrics on %s: %w", s.c.MetricsListen, err)
	}
	return l, nil
}

// serve answers on a listener until drain.
func (s *server) serve(l net.Listener, h http.Handler) {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 20 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), DisableGeneralOptionsHandler: true,
	}
	s.servers = append(s.servers, srv)
	s.serving.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
		}
	})
}

// drain tells followers to leave, refuses new requests and lets the others
// finish for drainTime; what is not finished then is cut off, unacknowledged.
func (s *server) drain() error {
	s.api.Drain()
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	var errs []error
	for _, srv := range s.servers {
		err := srv.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			s.log.Warn("requests that did not end in time are cut off", "after", drainTime.String())
			err = srv.Close()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("shut down: %w", err))
		}
	}
	if ctx.Err() == nil && s.api.Wait(ctx) != nil {
		s.log.Warn("sockets that did not close in time are cut off", "after", drainTime.String())
	}
	return errors.Join(errs...)
}

// close releases what open and listen took, last things first.
func (s *server) close() error {
	var errs []error
	for _, srv := range s.servers {
		_ = srv.Close()
	}
	s.serving.Wait()
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	return errors.Join(errs...)
}
