package state

import "context"

// SettingHorizon names the setting that holds the tombstone horizon, an HLC: every configured head has, or never needs,
// what was deleted up to then. Each head forgets tombstones up to it the moment it learns of it, so all still hold the
// same bytes. A head whose state is complete takes no record up to it that it does not hold: it was deleted.
const SettingHorizon = "tombstone-horizon"

var horizonKey = Key{KindSetting, SettingHorizon}

// horizonOf reads the setting; a value that is none is as if there were no horizon.
func horizonOf(r Record) HLC {
	if r.Deleted || r.Value == nil {
		return 0
	}
	h, err := Decode[HLC](r)
	if err != nil {
		return 0
	}
	return h
}

// SetHorizon moves the horizon. Only who knows that all configured heads hold everything up to it may do so.
func (d *DB) SetHorizon(ctx context.Context, h HLC) (Ack, error) {
	op, err := Put(KindSetting, SettingHorizon, h)
	if err != nil {
		return Ack{}, err
	}
	return d.Apply(ctx, Origin{Who: d.conf.Head, Where: "local"}, op)
}

// IsHorizon tells whether this is the record with the horizon.
func (k Key) IsHorizon() bool { return k == horizonKey }
