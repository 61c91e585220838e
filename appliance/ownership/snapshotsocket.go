package ownership

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"masthead/appliance/data"
	"masthead/node/wire"
)

// dataProblem is an error of the data as the API has it.
func dataProblem(err error) error {
	var refused *data.Refused
	switch {
	case errors.Is(err, data.ErrNoVolume):
		return &problem{http.StatusNotFound, err.Error(), "masthead data status"}
	case errors.Is(err, data.ErrNotHere):
		return &problem{http.StatusConflict, err.Error(), "masthead data status"}
	case errors.As(err, &refused):
		return &problem{http.StatusConflict, refused.Error(), refused.Try()}
	}
	return err
}

func (d *Daemon) serveSnapshots(r *http.Request) (any, error) {
	s := d.parts.dataNow.Load()
	if s == nil {
		return nil, noData()
	}
	volume := r.PathValue("volume")
	have, err := s.Snapshots(volume)
	if err != nil {
		return nil, dataProblem(err)
	}
	all := []wire.DataSnapshot{}
	for _, one := range have {
		all = append(all, wire.DataSnapshot{Volume: volume, Name: one.Name, Kind: one.Kind, Time: one.Time})
	}
	return all, nil
}

func (d *Daemon) serveSnapshotChange(r *http.Request) (any, error) {
	change, err := read[wire.SnapshotChange](r)
	if err != nil {
		return nil, err
	}
	s := d.parts.dataNow.Load()
	if s == nil {
		return nil, noData()
	}
	volume := r.PathValue("volume")
	out := wire.SnapshotChanged{Volume: volume, Name: change.Name, Applied: !change.DryRun}
	have, err := s.Snapshots(volume)
	if err != nil {
		return nil, dataProblem(err)
	}
	if change.Action != "create" {
		known := false
		for _, one := range have {
			known = known || one.Name == change.Name
		}
		if !known {
			return nil, &problem{http.StatusNotFound, fmt.Sprintf("volume %s has no snapshot %q", volume, change.Name), "masthead snapshot list"}
		}
	}
	switch change.Action {
	case "create":
		if change.Name == "" {
			change.Name = data.KindManual
		}
		out.Does = []string{"keep the present state of " + volume}
		if !change.DryRun {
			out.Name, err = s.Snapshot(r.Context(), volume, change.Name)
		}
	case "rm":
		out.Does = []string{"remove the snapshot " + change.Name}
		if !change.DryRun {
			err = s.RemoveSnapshot(r.Context(), volume, change.Name)
		}
	case "rollback":
		out.Does = []string{
			"keep the present state of " + volume + " as a snapshot",
			fmt.Sprintf("go back to %s, %s ago, when the service of the volume is started again", change.Name, ageOf(have, change.Name)),
		}
		if !change.DryRun {
			err = s.Rollback(volume, change.Name)
		}
		callErr := d.do(r.Context(), func() { out.Restart = d.serviceOf(volume) })
		err = errors.Join(err, callErr)
	default:
		return nil, &problem{http.StatusBadRequest, fmt.Sprintf("action %q: want create, rm or rollback", change.Action), "masthead snapshot --help"}
	}
	if err != nil {
		return nil, dataProblem(err)
	}
	return out, nil
}

func ageOf(all []data.Snapshot, name string) time.Duration {
	for _, one := range all {
		if one.Name == name {
			return time.Since(one.Time).Round(time.Second)
		}
	}
	return 0
}

// serviceOf is the service that a volume belongs to.
func (d *Daemon) serviceOf(volume string) string {
	for _, s := range d.config.document.AllServices() {
		for _, r := range s.Resources {
			if r.Data != nil && r.Data.Volume == volume {
				return s.Name
			}
		}
	}
	return ""
}

func (d *Daemon) serveSnapshotDiff(r *http.Request) (any, error) {
	s := d.parts.dataNow.Load()
	if s == nil {
		return nil, noData()
	}
	files, more, err := s.Differences(r.Context(), r.PathValue("volume"), r.PathValue("snapshot"))
	if err != nil {
		return nil, dataProblem(err)
	}
	out := wire.DataDifferences{Files: []wire.DataDifference{}, More: more}
	for _, f := range files {
		out.Files = append(out.Files, wire.DataDifference(f))
	}
	return out, nil
}
