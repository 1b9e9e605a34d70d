// A registry that costs nothing, so that a measurement shows the client's part alone.
//
// It believes every digest that it is told, and keeps the bytes of small blobs only. It listens on a free port of the
// loopback address, says so as distribution's registry does, and answers `GET /stats` with what it was asked so far.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Blobs up to this size can be read again; of others, only the size is known.
const keptSize = 4 << 20

type blob struct {
	size  int64
	bytes []byte
}

type manifest struct {
	bytes     []byte
	mediaType string
	digest    string
}

type sink struct {
	lock      sync.RWMutex
	blobs     map[string]blob
	manifests map[string]manifest
	uploads   map[string]blob
	nextID    atomic.Int64
	requests  atomic.Int64
	conns     atomic.Int64
	received  atomic.Int64
}

type used struct{}

var buffers = sync.Pool{New: func() any {
	buffer := make([]byte, 256<<10)
	return &buffer
}}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprintf(os.Stderr, "listening on %s\n", listener.Addr())
	server := http.Server{
		Handler: &sink{
			blobs:     map[string]blob{},
			manifests: map[string]manifest{},
			uploads:   map[string]blob{},
		},
		ConnContext: func(parent context.Context, _ net.Conn) context.Context {
			return context.WithValue(parent, used{}, new(atomic.Bool))
		},
	}
	log.Fatal(server.Serve(listener))
}

func (s *sink) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	path := request.URL.Path
	if path == "/stats" {
		fmt.Fprintf(answer, "%d %d %d\n", s.requests.Load(), s.conns.Load(), s.received.Load())
		return
	}
	s.requests.Add(1)
	if request.Context().Value(used{}).(*atomic.Bool).CompareAndSwap(false, true) {
		s.conns.Add(1)
	}
	name := strings.TrimPrefix(path, "/v2/")
	if repository, id, found := strings.Cut(name, "/blobs/uploads/"); found {
		s.upload(answer, request, repository, id)
	} else if repository, digest, found := strings.Cut(name, "/blobs/"); found {
		s.readBlob(answer, repository+"@"+digest, digest)
	} else if repository, reference, found := strings.Cut(name, "/manifests/"); found {
		if request.Method == http.MethodPut {
			s.writeManifest(answer, request, repository, reference)
		} else {
			s.readManifest(answer, repository+"@"+reference)
		}
	} else if name != "" {
		answer.WriteHeader(http.StatusNotFound)
	}
}

func (s *sink) readBlob(answer http.ResponseWriter, key, digest string) {
	s.lock.RLock()
	blob, found := s.blobs[key]
	s.lock.RUnlock()
	if !found {
		refuse(answer, "BLOB_UNKNOWN")
		return
	}
	describe(answer, "application/octet-stream", blob.size, digest)
	_, _ = answer.Write(blob.bytes)
}

func (s *sink) readManifest(answer http.ResponseWriter, key string) {
	s.lock.RLock()
	manifest, found := s.manifests[key]
	s.lock.RUnlock()
	if !found {
		refuse(answer, "MANIFEST_UNKNOWN")
		return
	}
	describe(answer, manifest.mediaType, int64(len(manifest.bytes)), manifest.digest)
	_, _ = answer.Write(manifest.bytes)
}

func (s *sink) writeManifest(answer http.ResponseWriter, request *http.Request, repository, reference string) {
	bytes, err := io.ReadAll(request.Body)
	if err != nil {
		return
	}
	s.received.Add(int64(len(bytes)))
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(bytes))
	written := manifest{bytes, request.Header.Get("Content-Type"), digest}
	s.lock.Lock()
	s.manifests[repository+"@"+reference] = written
	s.manifests[repository+"@"+digest] = written
	s.lock.Unlock()
	created(answer, "/v2/"+repository+"/manifests/"+digest, digest)
}

func (s *sink) upload(answer http.ResponseWriter, request *http.Request, repository, id string) {
	query := request.URL.Query()
	digest := query.Get("digest")
	if request.Method == http.MethodPost {
		if mounted := query.Get("mount"); mounted != "" && s.mount(repository, query.Get("from"), mounted) {
			created(answer, "/v2/"+repository+"/blobs/"+mounted, mounted)
			return
		}
		id = strconv.FormatInt(s.nextID.Add(1), 10)
	}
	got, err := s.receive(request)
	if err != nil {
		return
	}
	s.lock.Lock()
	before := s.uploads[id]
	all := blob{before.size + got.size, append(before.bytes, got.bytes...)}
	if all.size > keptSize {
		all.bytes = nil
	}
	if digest == "" {
		s.uploads[id] = all
	} else {
		delete(s.uploads, id)
		s.blobs[repository+"@"+digest] = all
	}
	s.lock.Unlock()
	if digest != "" {
		created(answer, "/v2/"+repository+"/blobs/"+digest, digest)
		return
	}
	answer.Header().Set("Location", "/v2/"+repository+"/blobs/uploads/"+id)
	answer.Header().Set("Range", fmt.Sprintf("0-%d", max(all.size, 1)-1))
	answer.WriteHeader(http.StatusAccepted)
}

func (s *sink) mount(repository, from, digest string) bool {
	s.lock.Lock()
	defer s.lock.Unlock()
	blob, found := s.blobs[from+"@"+digest]
	if found {
		s.blobs[repository+"@"+digest] = blob
	}
	return found
}

// receive reads a body, and keeps it if it is small.
func (s *sink) receive(request *http.Request) (blob, error) {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	got := blob{}
	for {
		count, err := request.Body.Read(*buffer)
		got.size += int64(count)
		s.received.Add(int64(count))
		if got.size <= keptSize {
			got.bytes = append(got.bytes, (*buffer)[:count]...)
		} else {
			got.bytes = nil
		}
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return blob{}, err
		}
	}
}

func describe(answer http.ResponseWriter, mediaType string, size int64, digest string) {
	answer.Header().Set("Content-Type", mediaType)
	answer.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	answer.Header().Set("Docker-Content-Digest", digest)
}

func created(answer http.ResponseWriter, location, digest string) {
	answer.Header().Set("Location", location)
	answer.Header().Set("Docker-Content-Digest", digest)
	answer.WriteHeader(http.StatusCreated)
}

func refuse(answer http.ResponseWriter, code string) {
	answer.Header().Set("Content-Type", "application/json")
	answer.WriteHeader(http.StatusNotFound)
	fmt.Fprintf(answer, `{"errors":[{"code":%q}]}`, code)
}
