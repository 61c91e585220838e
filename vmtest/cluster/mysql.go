package cluster

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// mysql is a connection of a client that stands outside of the heads, as much of it as a writer needs: it logs in without a
// password, and takes the server's word that a statement was done.
//
// The protocol: https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html, the same for MariaDB.
type mysql struct {
	conn net.Conn
	in   *bufio.Reader
	seq  byte
}

// Capabilities of the client.
const (
	clientLongPassword  = 1 << 0
	clientConnectWithDB = 1 << 3
	clientProtocol41    = 1 << 9
	clientTransactions  = 1 << 13
	clientSecure        = 1 << 15
	clientPluginAuth    = 1 << 19
)

// Packets of the server, by their first byte.
const (
	mysqlOK         = 0x00
	mysqlAuthSwitch = 0xfe
	mysqlError      = 0xff
)

func dialMySQL(addr, user, database string, within time.Duration) (*mysql, error) {
	conn, err := net.DialTimeout("tcp", addr, within)
	if err != nil {
		return nil, err
	}
	m := &mysql{conn: conn, in: bufio.NewReader(conn)}
	if err := m.login(user, database, within); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return m, nil
}

func (m *mysql) login(user, database string, within time.Duration) error {
	if err := m.conn.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	hello, err := m.read()
	if err != nil {
		return err
	}
	if err := mysqlProblem(hello); err != nil {
		return err
	}
	reply := binary.LittleEndian.AppendUint32(nil, clientLongPassword|clientConnectWithDB|clientProtocol41|clientTransactions|clientSecure|clientPluginAuth)
	reply = binary.LittleEndian.AppendUint32(reply, 1<<24)
	reply = append(reply, 33) // utf8
	reply = append(reply, make([]byte, 23)...)
	reply = append(append(reply, user...), 0, 0) // an answer to the password of no bytes
	reply = append(append(reply, database...), 0)
	reply = append(append(reply, "mysql_native_password"...), 0)
	if err := m.write(reply); err != nil {
		return err
	}
	answer, err := m.read()
	if err == nil && len(answer) > 0 && answer[0] == mysqlAuthSwitch {
		if err = m.write(nil); err == nil {
			answer, err = m.read()
		}
	}
	if err != nil {
		return err
	}
	return mysqlProblem(answer)
}

// exec has a statement done that gives no rows. Without an error it was.
func (m *mysql) exec(statement string, within time.Duration) error {
	if err := m.conn.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	m.seq = 0
	if err := m.write(append([]byte{3}, statement...)); err != nil {
		return err
	}
	answer, err := m.read()
	if err != nil {
		return err
	}
	if len(answer) == 0 || answer[0] != mysqlOK && answer[0] != mysqlError {
		return fmt.Errorf("mysql: an answer that is neither yes nor no: % x", answer)
	}
	return mysqlProblem(answer)
}

func mysqlProblem(packet []byte) error {
	if len(packet) > 3 && packet[0] == mysqlError {
		return fmt.Errorf("mysql: error %d: %s", binary.LittleEndian.Uint16(packet[1:]), packet[3:])
	}
	return nil
}

func (m *mysql) read() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(m.in, head[:]); err != nil {
		return nil, err
	}
	packet := make([]byte, int(head[0])|int(head[1])<<8|int(head[2])<<16)
	m.seq = head[3] + 1
	_, err := io.ReadFull(m.in, packet)
	return packet, err
}

func (m *mysql) write(packet []byte) error {
	n := len(packet)
	_, err := m.conn.Write(append([]byte{byte(n), byte(n >> 8), byte(n >> 16), m.seq}, packet...))
	m.seq++
	return err
}

func (m *mysql) close() { _ = m.conn.Close() } // what it has done, it has done
