package wire

import (
	"time"

	"masthead/images"
)

// Paths of the images' API, besides PathImages and PathBlob.
const (
	PathImage  = "/api/v1/images/"     // TAG: GET ImageTag, PUT ImageChange, DELETE; TAG/rollback: POST ImageChange; administrator
	PathAside  = "/api/v1/aside"       // GET Aside, DELETE; administrator
	PathLacks  = "/missing"            // after PathBlob and a manifest's digest: GET []images.Blob; administrator
	PeerBlob   = "/peer/v1/blob/"      // DIGEST: GET, from other heads: what lies here, and nobody else is asked
	PeerFile   = "/peer/v1/file-blob/" // DIGEST: the same for the contents of files
	PeerChecks = "/peer/v1/file-check" // GET []FileDifference
)

// ImageTag is an image's tag as the state keeps it, and what it has meant.
type ImageTag struct {
	Versions []ImageVersion `json:"versions,omitempty"` // the newest last
	// Removed is when the tag was removed. The record stays, so that a head with a medium that has the tag does not bring
	// it back.
	Removed time.Time `json:"removed,omitzero"`
}

// ImageVersion is one meaning of a tag, with what a head says of it that does not hold the image yet.
type ImageVersion struct {
	Digest images.Digest `json:"digest"`
	Bytes  int64         `json:"bytes"` // of the manifest
	Role   images.Role   `json:"role"`
	Kernel string        `json:"kernel"`
	Size   int64         `json:"size"`             // bytes of the root
	Stored int64         `json:"stored"`           // bytes it takes in the store
	Source string        `json:"source,omitempty"` // where it came from, for people
	Time   time.Time     `json:"time,omitzero"`
}

// Now is what the tag means; ok is false if it means nothing.
func (t ImageTag) Now() (v ImageVersion, ok bool) {
	if len(t.Versions) == 0 || !t.Removed.IsZero() {
		return ImageVersion{}, false
	}
	return t.Versions[len(t.Versions)-1], true
}

// VersionOf describes an image for the state; data is its manifest as it is stored.
func VersionOf(d images.Digest, m images.Manifest, bytes int64, source string, now time.Time) ImageVersion {
	return ImageVersion{
		Digest: d, Bytes: bytes, Role: m.Role, Kernel: m.KernelRelease, Size: m.Root.Size, Stored: m.Root.Stored(), Source: source,
		Time: now.UTC().Truncate(time.Second),
	}
}

// ImageChange makes a tag mean an image.
type ImageChange struct {
	Image  string `json:"image,omitempty"` // a tag or a digest; not for a rollback
	Source string `json:"source,omitempty"`
	DryRun bool   `json:"dry_run,omitempty"`
}

// ImageChanged is the answer: what the tag meant and means.
type ImageChanged struct {
	Tag      string        `json:"tag"`
	Old      images.Digest `json:"old,omitempty"`
	New      images.Digest `json:"new,omitempty"`
	Applied  bool          `json:"applied"`
	Degraded string        `json:"degraded,omitempty"` // why no other head knows of it yet
}

// Fetching is an image that is on its way from other heads to the one that answers.
type Fetching struct {
	Tag    string        `json:"tag"`
	Digest images.Digest `json:"digest"`
	Done   int64         `json:"done"`            // bytes
	Total  int64         `json:"total"`           // bytes that have to be moved; 0: not known yet
	Waits  string        `json:"waits,omitempty"` // why it does not go on
}

// Aside is what a head has set aside (.old.NN): content that was wrong or that nothing refers to.
type Aside struct {
	Files int          `json:"files"`
	Bytes int64        `json:"bytes"`
	Old   []images.Old `json:"old,omitempty"`
}

// ImageOf describes one image, as the API lists it. history is the number of versions that its tag has had.
func ImageOf(tag string, d images.Digest, m images.Manifest, history int) Image {
	return VersionOf(d, m, 0, "", time.Time{}).Image(tag, history)
}

// Image describes a version, as the API lists it.
func (v ImageVersion) Image(tag string, history int) Image {
	return Image{Tag: tag, Digest: v.Digest, Role: v.Role, Kernel: v.Kernel, Size: v.Size, Stored: v.Stored, History: history, Source: v.Source}
}

// ImagesOf describes the tagged images of a store, by tag.
func ImagesOf(s *images.Store) ([]Image, error) {
	tags, err := s.Tags()
	if err != nil {
		return nil, err
	}
	list := make([]Image, 0, len(tags))
	for _, tag := range tags {
		history, err := s.History(tag)
		if err != nil {
			return nil, err
		}
		d := history[len(history)-1]
		m, err := s.Manifest(d)
		if err != nil {
			return nil, err
		}
		list = append(list, ImageOf(tag, d, m, len(history)))
	}
	return list, nil
}
