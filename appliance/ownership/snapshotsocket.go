package ownership

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"masthead/appliance/data"
	"masthead/node/wire"
)

func serveSnapshots(r *http.Request, s *data.Set) (any, error) {
	volume := r.PathValue("volume")
	have, err := s.Snapshots(r.Context(), volume)
	if err != nil {
		return nil, err
	}
	sizes := s.SnapshotSizes(r.Context(), volume)
	all := []wire.DataSnapshot{}
	for _, one := range have {
		all = append(all, wire.DataSnapshot{Volume: volume, Name: one.Name, Kind: one.Kind, Time: one.Time, Used: sizes[one.Name]})
	}
	return all, nil
}

func (d *Daemon) serveSnapshotChange(r *http.Request, s *data.Set, change wire.SnapshotChange) (any, error) {
	volume := r.PathValue("volume")
	out := wire.SnapshotChanged{Volume: volume, Name: change.Name, Applied: !change.DryRun}
	have, err := s.Snapshots(r.Context(), volume)
	if err != nil {
		return nil, err
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
		if s.RollbackMakesAnew(volume) {
			out.Does = append(out.Does, "make all of the other copy anew from this head's; until then this head is the only one with the data")
		}
		if !change.DryRun {
			err = s.Rollback(r.Context(), volume, change.Name)
		}
		callErr := d.do(r.Context(), func() { out.Restart = d.serviceOf(volume) })
		err = errors.Join(err, callErr)
	default:
		return nil, &problem{http.StatusBadRequest, fmt.Sprintf("action %q: want create, rm or rollback", change.Action), "masthead snapshot --help"}
	}
	return out, err
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

func serveSnapshotDiff(r *http.Request, s *data.Set) (any, error) {
	files, more, err := s.Differences(r.Context(), r.PathValue("volume"), r.PathValue("snapshot"))
	if err != nil {
		return nil, err
	}
	out := wire.DataDifferences{Files: []wire.DataDifference{}, More: more}
	for _, f := range files {
		out.Files = append(out.Files, wire.DataDifference(f))
	}
	return out, nil
}
