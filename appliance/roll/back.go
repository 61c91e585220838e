package roll

import (
	"errors"

	"masthead/images"
	"masthead/node/wire"
)

// ErrOneVersion is a tag that has meant one image only.
var ErrOneVersion = errors.New("it has had only one version")

// Back says what a tag has to mean to go back. done is true if it has gone back already: what it means now is what it
// meant before the last version but one. Going back again would bring the bad image again; so a roll back that was broken
// off can be run again.
func Back(versions []wire.ImageVersion) (to images.Digest, done bool, err error) {
	n := len(versions)
	if n < 2 {
		return "", false, ErrOneVersion
	}
	if now := versions[n-1].Digest; n > 2 && versions[n-3].Digest == now {
		return now, true, nil
	}
	return versions[n-2].Digest, false, nil
}
