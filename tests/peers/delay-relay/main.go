// Passes TCP connections on, and makes the other end look far away: `delay-relay HOST:PORT ROUND-TRIP`.
//
// Every byte arrives half a round trip late, and those of a new connection another round trip later, which is what its
// handshake would have taken. There is no limit of bandwidth, no loss and no slow start.
package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"sync"
	"time"
)

// The most that is under way in one direction of a connection, in pieces of at most pieceSize.
const (
	pieceSize = 128 << 10
	pieces    = 256
)

type piece struct {
	due   time.Time
	bytes []byte
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: delay-relay HOST:PORT ROUND-TRIP")
	}
	roundTrip, err := time.ParseDuration(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprintf(os.Stderr, "listening on %s\n", listener.Addr())
	for {
		near, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go relay(near, os.Args[1], roundTrip)
	}
}

func relay(near net.Conn, target string, roundTrip time.Duration) {
	far, err := net.Dial("tcp", target)
	if err != nil {
		near.Close()
		return
	}
	established := time.Now().Add(roundTrip)
	var directions sync.WaitGroup
	directions.Go(func() { pass(near, far, roundTrip/2, established) })
	directions.Go(func() { pass(far, near, roundTrip/2, established) })
	directions.Wait()
	near.Close()
	far.Close()
}

// pass carries one direction to its end, and tells the other side of it.
func pass(from, to net.Conn, delay time.Duration, established time.Time) {
	queue := make(chan piece, pieces)
	go read(from, queue, delay, established)
	for piece := range queue {
		time.Sleep(time.Until(piece.due))
		if _, err := to.Write(piece.bytes); err != nil {
			from.Close()
		}
	}
	to.(*net.TCPConn).CloseWrite()
}

func read(from net.Conn, queue chan<- piece, delay time.Duration, established time.Time) {
	defer close(queue)
	buffer := make([]byte, pieceSize)
	for {
		count, err := from.Read(buffer)
		sent := time.Now()
		if sent.Before(established) {
			sent = established
		}
		if count > 0 {
			queue <- piece{sent.Add(delay), append([]byte(nil), buffer[:count]...)}
		}
		if err != nil {
			return
		}
	}
}
