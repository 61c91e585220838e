package appliance

import (
	"io"
	"net/http"
	"time"

	"masthead/appliance/install"
	"masthead/node/wire"
)

// mediumRoutes give the ISO that this head was started from to machines that are being made heads.
func (a *api) mediumRoutes() []route {
	return []route{
		{"GET " + wire.PathMedium, machine, "The ISO that this head was started from, for a machine that is being made a head", nil, nil, nil, a.medium},
	}
}

// medium answers with the ISO, or a range of it. Workers have no business with it: a head's image may hold what is not for
// them.
func (a *api) medium(w http.ResponseWriter, r *http.Request) {
	if c := callerOf(r.Context()); !c.admin {
		rec, ok := a.head.reg.ByMAC(c.boot.MAC)
		if !ok || !rec.Clone() {
			writeProblem(w, &problem{http.StatusForbidden, "this machine is not being made a head", "masthead master-maker on a head"})
			return
		}
	}
	device, err := install.MediumDevice(mountinfo)
	if err != nil {
		writeProblem(w, &problem{http.StatusNotFound, err.Error(), ""})
		return
	}
	f, volume, err := install.OpenISO(device)
	if err != nil {
		writeProblem(w, err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(f, 0, volume.Size))
}

const mountinfo = "/proc/self/mountinfo"
