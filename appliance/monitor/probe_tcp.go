package monitor

import (
	"context"
	"io"
	"net"
	"regexp"
	"strconv"
	"time"
)

// expectMost bounds what is read of an answer.
const expectMost = 4 << 10

func (t *TCP) probe(ctx context.Context, host string) Result {
	what := "tcp port " + strconv.Itoa(int(t.Port))
	began := time.Now()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(t.Port))))
	if err != nil {
		return failure(ctx, what, err)
	}
	defer conn.Close()
	connected := time.Since(began)
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if t.Send != "" {
		if _, err := io.WriteString(conn, t.Send); err != nil {
			return failure(ctx, what+": sending", err)
		}
	}
	if t.Expect == "" {
		return up("%s: connected in %s", what, connected.Round(10*time.Microsecond))
	}
	want, err := regexp.Compile(t.Expect)
	if err != nil {
		return unknown("%s: %v", what, err)
	}
	got, part := []byte(nil), make([]byte, expectMost)
	for len(got) < expectMost {
		n, err := conn.Read(part[:expectMost-len(got)])
		got = append(got, part[:n]...)
		if want.Match(got) {
			return up("%s: answered as expected in %s", what, time.Since(began).Round(10*time.Microsecond))
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			r := failure(ctx, what+": waiting for "+strconv.Quote(t.Expect), err)
			r.Detail = "answered: " + strconv.Quote(string(got))
			return r
		}
	}
	r := down("%s: the answer is not %q", what, t.Expect)
	r.Detail = "answered: " + strconv.Quote(string(got))
	return r
}
