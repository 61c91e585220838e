package vmtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/renameio/v2"
)

// The control interface is HTTP and JSON on a unix socket, which only its user can
// reach:
//
//	GET  /v1/status                   []MachineStatus
//	POST /v1/inject                   words, as Inject takes them
//	POST /v1/down                     answered when the lab is down
//	GET  /v1/machines/NAME/console    101, then the console as it is
const consoleProtocol = "masthead-console"

// signpost is what lab.json says while a lab is served: the socket cannot be in
// the lab's folder itself, its path would often be too long.
type signpost struct {
	Name   string `json:"name"`
	PID    int    `json:"pid"`
	Socket string `json:"socket"`
}

func signpostPath(folder string) string { return filepath.Join(folder, "lab.json") }

// Serve lets other processes drive the lab, found by its folder (Connect). It
// blocks until ctx ends or the lab is down, and leaves the lab as it is.
func (l *Lab) Serve(ctx context.Context) error {
	path := l.socket("control")
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("lab control: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &control{lab: l, ctx: ctx}
	server := &http.Server{Handler: c.routes(), ReadHeaderTimeout: 10 * time.Second}
	sign, err := json.Marshal(signpost{l.config.Name, os.Getpid(), path})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if err := renameio.WriteFile(signpostPath(l.folder), sign, 0o644); err != nil {
		return errors.Join(fmt.Errorf("lab control: %w", err), listener.Close())
	}
	defer os.Remove(signpostPath(l.folder))

	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case <-ctx.Done():
	case <-l.done:
	case err := <-served:
		return fmt.Errorf("lab control: %w", err)
	}
	cancel() // the consoles leave; who asked for the end is answered first
	stop, stopped := context.WithTimeout(context.Background(), answerWithin)
	defer stopped()
	err = server.Shutdown(stop)
	<-served
	c.consoles.Wait()
	if err != nil {
		return errors.Join(fmt.Errorf("lab control: %w", err), server.Close())
	}
	return nil
}

// control answers the requests.
type control struct {
	lab      *Lab
	ctx      context.Context // of Serve
	consoles sync.WaitGroup  // attached: they have left the HTTP server
}

func (c *control) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		answer(w, c.lab.Status(r.Context()))
	})
	mux.HandleFunc("POST /v1/inject", func(w http.ResponseWriter, r *http.Request) {
		var words []string
		if err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&words); err != nil {
			refuse(w, http.StatusBadRequest, err)
			return
		}
		if err := c.lab.Inject(r.Context(), words...); err != nil {
			refuse(w, http.StatusUnprocessableEntity, err)
			return
		}
		answer(w, struct{}{})
	})
	mux.HandleFunc("POST /v1/down", func(w http.ResponseWriter, r *http.Request) {
		if err := c.lab.Down(); err != nil {
			refuse(w, http.StatusInternalServerError, err)
			return
		}
		answer(w, struct{}{})
	})
	mux.HandleFunc("GET /v1/machines/{name}/console", c.console)
	return mux
}

func (c *control) console(w http.ResponseWriter, r *http.Request) {
	m, err := c.lab.find(r.PathValue("name"))
	if err != nil {
		refuse(w, http.StatusNotFound, err)
		return
	}
	if r.Header.Get("Upgrade") != consoleProtocol {
		refuse(w, http.StatusUpgradeRequired, fmt.Errorf("want Upgrade: %s", consoleProtocol))
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+consoleProtocol+"\r\n\r\n")
	if err != nil {
		conn.Close()
		return
	}
	c.consoles.Add(1)
	defer c.consoles.Done()
	// How it ended is of no interest: the viewer, the lab or the console went away.
	_ = m.Console.Attach(c.ctx, &stream{buffered.Reader, conn})
}

// stream is a connection of which some was read into a buffer.
type stream struct {
	io.Reader
	net.Conn
}

func (s *stream) Read(b []byte) (int, error) { return s.Reader.Read(b) }

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // fails only when the client is gone
}

// refusal is the body of every error.
type refusal struct {
	Error string `json:"error"`
}

func refuse(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(refusal{err.Error()})
}
