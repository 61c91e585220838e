package monitor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// alertTimeout is for one try of a webhook, and for a command.
	alertTimeout = 30 * time.Second
	// webhookTries: a receiver that restarts is back by the last, after 1, 5 and 30 s.
	webhookTries = 4
	// alertsWaiting bounds the webhooks and commands of one monitor that wait for one another.
	alertsWaiting = 32
)

// post sends a Notice to a webhook, some times if it must. Answers that trying again does not change end it.
func (w *Webhook) post(ctx context.Context, n Notice) error {
	body, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("webhook %s: %w", w.URL, err)
	}
	for i, pause := range []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 0} {
		again := false
		if again, err = w.once(ctx, body); err == nil || !again || i == webhookTries-1 {
			break
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
	return err
}

func (w *Webhook) once(ctx context.Context, body []byte) (again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, alertTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return false, fmt.Errorf("webhook %s: %w", w.URL, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "masthead")
	for k, v := range w.Headers {
		req.Header.Set(k, v)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}}
	resp, err := client.Do(req)
	if err != nil {
		return true, fmt.Errorf("webhook: %w", err) // names the method and the URL
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode/100 == 2 {
		return false, nil
	}
	return resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests, fmt.Errorf("webhook %s: status %s", w.URL, resp.Status)
}

// call runs a command as mon calls its alerts (mon(8), ALERT PROGRAMS): ours come before the arguments of the configuration.
func (c *CommandAlert) call(ctx context.Context, m Monitor, n Notice, every time.Duration, dirs []string) error {
	ctx, cancel := context.WithTimeout(ctx, alertTimeout)
	defer cancel()
	group, service := m.group()
	words := []string{c.Command[0], "-s", service, "-g", group, "-h", strings.Join(n.Hosts, " "), "-l", strconv.Itoa(int(every.Seconds())), "-t", timeval(n.Time)}
	if n.Type == TypeUp {
		words = append(words, "-u")
	}
	words = append(words, c.Command[1:]...)
	env := map[string]string{
		"MON_LAST_SUMMARY": n.Summary, "MON_LAST_OUTPUT": strings.TrimSuffix(n.Summary+"\n"+n.Detail, "\n"),
		"MON_LAST_FAILURE": timeval(n.LastFailure), "MON_FIRST_FAILURE": timeval(n.Since), "MON_LAST_SUCCESS": timeval(n.LastSuccess),
		"MON_DESCRIPTION": n.Description, "MON_GROUP": group, "MON_SERVICE": service, "MON_RETVAL": strconv.Itoa(n.Code),
		"MON_OPSTATUS": opstatus(n.State), "MON_ALERTTYPE": string(n.Type),
		"MASTHEAD_CLUSTER": n.Cluster, "MASTHEAD_HEAD": n.Head, "MASTHEAD_EPOCH": n.Epoch, "MASTHEAD_MONITOR": n.Monitor, "MASTHEAD_STATE": n.State,
	}
	for k, v := range m.Env {
		env[k] = v
	}
	r := run(ctx, words, dirs, env, n.Summary+"\n"+n.Detail+"\n")
	if r.err == nil && r.code != 0 {
		r.err = fmt.Errorf("it exited with %d: %s", r.code, strings.TrimSpace(r.output))
	}
	if r.err != nil {
		return fmt.Errorf("alert %s: %w", c.Command[0], r.err)
	}
	return nil
}

// timeval is a time(2), 0 where mon has none.
func timeval(t time.Time) string {
	if t.IsZero() {
		return "0"
	}
	return strconv.FormatInt(t.Unix(), 10)
}

// opstatus is mon's number of a state: STAT_FAIL, STAT_OK, STAT_UNKNOWN.
func opstatus(state string) string {
	switch state {
	case "up":
		return "1"
	case "down":
		return "0"
	}
	return "5"
}

// deliver sends one alert by webhook or command, and blocks until it is told or given up.
func (d Due) deliver(ctx context.Context, m Monitor, n Notice, dirs []string) error {
	if d.Alert.Webhook != nil {
		return d.Alert.Webhook.post(ctx, n)
	}
	return d.Alert.Command.call(ctx, m, n, d.Every, dirs)
}
