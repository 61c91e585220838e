package gossip

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"

	"masthead/node/wire"
)

// pathState is where heads ask one another; after it comes the name of the question.
const pathState = wire.PathPeer + "state/"

// wordHeader says which of the errors that callers tell apart an answer is.
const wordHeader = "Masthead-Error"

type peerKey struct{}

// WithPeer says which head calls. Whoever mounts Handler has authenticated it.
func WithPeer(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, peerKey{}, name)
}

// Handler answers other heads, at any path whose last part is the question. The request's context has WithPeer.
func (r *Replica) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set(protoHead, r.conf.protocol())
		body, err := r.answer(req)
		if err != nil {
			p, word := problemOf(err)
			if word != "" {
				w.Header().Set(wordHeader, word)
			}
			data, _ := json.Marshal(p) // of two strings and a number
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(p.Status)
			_, _ = w.Write(data) // who went away does not hear it
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})
}

func (r *Replica) answer(req *http.Request) ([]byte, error) {
	from, _ := req.Context().Value(peerKey{}).(string)
	if req.Method != http.MethodPost {
		return nil, fmt.Errorf("%w: %s, want POST", errMessage, req.Method)
	}
	if err := r.conf.fits(from, req.Header); err != nil {
		return nil, err
	}
	what := path.Base(req.URL.Path)
	limit := int64(maxBody)
	if what == callApply {
		limit = maxOpsBody
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, req.Body, limit))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMessage, err)
	}
	return r.serve(req.Context(), from, what, body)
}

// protocol is what a head says of itself with each request and answer.
func (c *Config) protocol() string { return fmt.Sprintf("%d %s", Protocol, c.Version) }

// fits checks what another head says of itself.
func (c *Config) fits(head string, h http.Header) error {
	number, version, _ := strings.Cut(h.Get(protoHead), " ")
	n, err := strconv.ParseUint(number, 10, 8)
	if err != nil {
		return fmt.Errorf("%w: header %s: %q", errMessage, protoHead, h.Get(protoHead))
	}
	if n != Protocol {
		return &protocolError{head, version, uint8(n), c.Name, c.Version}
	}
	return nil
}

// post asks a head over HTTPS.
func (l *netLink) post(ctx context.Context, p Peer, what string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL+pathState+what, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set(protoHead, l.conf.protocol())
	resp, err := l.conf.Client(p.Name).Do(req)
	if err != nil {
		return nil, shorter(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxOpsBody))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if resp.Header.Get(protoHead) != "" {
		if err := l.conf.fits(p.Name, resp.Header); errors.Is(err, errProtocol) {
			return nil, err
		}
	}
	if resp.StatusCode == http.StatusOK {
		return answer, nil
	}
	var problem wire.Problem
	if err := json.Unmarshal(answer, &problem); err != nil || problem.Detail == "" {
		problem.Detail = fmt.Sprintf("%.*q", maxDetail, answer)
	}
	problem.Status = resp.StatusCode
	return nil, remoteProblem(p.Name, problem, resp.Header.Get(wordHeader))
}

// shorter leaves out the URL, which people cannot use here.
func shorter(err error) error {
	var u interface{ Unwrap() error }
	if errors.As(err, &u) {
		if inner := u.Unwrap(); inner != nil {
			return inner
		}
	}
	return err
}
