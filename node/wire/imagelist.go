package wire

import "masthead/images"

// ImageOf describes one image, as the API lists it. history is the number of versions that its tag has had.
func ImageOf(tag string, d images.Digest, m images.Manifest, history int) Image {
	return Image{Tag: tag, Digest: d, Role: m.Role, Kernel: m.KernelRelease, Size: m.Root.Size, Stored: m.Root.Stored(), History: history}
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
