// A registry that has the referrers API: go-containerregistry's, which keeps everything in memory.
//
// It listens on a free port of the loopback address, says so as distribution's registry does, and writes a line for each
// request to standard output, in the same form.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprintf(os.Stderr, "listening on %s\n", listener.Addr())
	silent := log.New(io.Discard, "", 0)
	handler := registry.New(registry.WithReferrersSupport(true), registry.Logger(silent))
	log.Fatal(http.Serve(listener, logged(handler)))
}

// logged writes a request down before its answer begins.
func logged(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		handler.ServeHTTP(&logging{ResponseWriter: answer, request: request}, request)
	})
}

type logging struct {
	http.ResponseWriter
	request *http.Request
	written bool
}

func (l *logging) WriteHeader(status int) {
	l.log(status)
	l.ResponseWriter.WriteHeader(status)
}

func (l *logging) Write(bytes []byte) (int, error) {
	l.log(http.StatusOK)
	return l.ResponseWriter.Write(bytes)
}

func (l *logging) log(status int) {
	if l.written {
		return
	}
	l.written = true
	host, _, _ := net.SplitHostPort(l.request.RemoteAddr)
	at := time.Now().Format("02/Jan/2006:15:04:05 -0700")
	uri := l.request.URL.RequestURI()
	fmt.Printf("%s - - [%s] \"%s %s %s\" %d -\n", host, at, l.request.Method, uri, l.request.Proto, status)
}
