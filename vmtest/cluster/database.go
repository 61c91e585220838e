package cluster

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"masthead/node/wire"
)

// Database is MariaDB on the heads of a lab, as a unit that only the cluster starts. Anybody may write, from outside too, on
// whichever head it runs: so a head that should not write any more is found out.
type Database struct{ *Cluster }

// MySQLPort is the name under which a lab file forwards a head's database: forward: {mysql: 3306}.
const MySQLPort = "mysql"

// DatabaseUnit is the name of the unit.
const DatabaseUnit = "lab-db"

const (
	makeUnit = `mkdir -p /etc/systemd/system
cat > /etc/systemd/system/` + DatabaseUnit + `.service <<'E'
[Service]
Type=notify
ExecStartPre=/usr/bin/install -d -m 755 -o mysql -g root /run/mysqld
ExecStart=/usr/sbin/mariadbd --user=mysql --bind-address=0.0.0.0 --innodb-buffer-pool-size=16M --innodb-log-file-size=8M --innodb-flush-log-at-trx-commit=1 --skip-name-resolve
TimeoutStartSec=300
OOMScoreAdjust=-500
E
masthead file add /etc/systemd/system/` + DatabaseUnit + `.service`
	makeTable = `mariadb -e "create database if not exists lab; create table if not exists lab.w (id bigint primary key) engine=innodb;
create user if not exists writer@'%' identified by ''; grant all on lab.* to writer@'%'"`
	readRows = "mariadb -N -e 'select id from lab.w'"
)

// databaseWithin bounds what is asked of a head whose processor is emulated.
const databaseWithin = 5 * time.Minute

// Define gives all heads the unit, through one of them.
func (d Database) Define(ctx context.Context, head *wire.Client, name string) error {
	_, err := Shell(ctx, head, name, makeUnit, nil, databaseWithin)
	return err
}

// Create makes the table of a Writer, on the head that runs the database.
func (d Database) Create(ctx context.Context, head *wire.Client, name string) error {
	_, err := Shell(ctx, head, name, makeTable, nil, databaseWithin)
	return err
}

// Missing are the numbers that the database of a head does not have.
func (d Database) Missing(ctx context.Context, head *wire.Client, name string, wanted []int64) (lost []int64, err error) {
	out, err := Shell(ctx, head, name, readRows, nil, databaseWithin)
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	for _, id := range strings.Fields(out) {
		there[id] = true
	}
	for _, id := range wanted {
		if !there[strconv.FormatInt(id, 10)] {
			lost = append(lost, id)
		}
	}
	return lost, nil
}

// insert adds one number.
func (m *mysql) insert(id int64, within time.Duration) error {
	return m.exec(fmt.Sprintf("insert into w values (%d)", id), within)
}

// InSync is an error unless two copies of each volume are up to date, and see one another.
func InSync(ctx context.Context, head *wire.Client) error {
	ctx, cancel := context.WithTimeout(ctx, take)
	defer cancel()
	all, err := head.Data(ctx)
	if err != nil {
		return err
	}
	for _, v := range all {
		if v.State != "up to date" || v.Connection != "Connected" || v.Replication != "Established" {
			return fmt.Errorf("%s: %s, %s, %s %.0f %%: %s%s", v.Head, v.State, v.Connection, v.Replication, v.Done, v.Doing, v.Trouble)
		}
	}
	if len(all) < 2 {
		return fmt.Errorf("%d copies", len(all))
	}
	return nil
}
