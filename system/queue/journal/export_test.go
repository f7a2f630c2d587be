package journal

import (
	"encoding/binary"
	"hash/crc32"
)

// Append writes a record as it was read.
func (r *Record) Append(b []byte) []byte {
	switch r.Kind {
	case HeaderKind:
		return AppendHeader(b, &r.Header)
	case ImageKind:
		return AppendImage(b, r.Image)
	case NoteKind:
		return AppendNote(b, r.Now, r.Note)
	case MarkKind:
		return AppendMark(b, r.Now, r.Hash)
	case SyncKind:
		return AppendSync(b, r.Offset, r.Synced)
	case ResumeKind:
		return AppendResume(b, r.Now, r.Header.Epoch)
	}
	return AppendStep(b, r.Now, &r.Input, r.Outputs, r.Note)
}

// AppendImage writes a part of an image.
func AppendImage(b, image []byte) []byte {
	b, start := begin(b, ImageKind)
	return end(append(b, image...), start)
}

// Reseal gives each frame the checksum that fits.
func Reseal(b []byte) []byte {
	for rest := b; len(rest) >= frameHead; {
		n := int(binary.LittleEndian.Uint32(rest))
		if n > len(rest)-frameHead {
			break
		}
		binary.LittleEndian.PutUint32(rest[4:], crc32.Checksum(rest[frameHead:frameHead+n], castagnoli))
		rest = rest[frameHead+n:]
	}
	return b
}
