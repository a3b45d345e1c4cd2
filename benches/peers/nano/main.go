// A minimal application on nano with the routes of the load tool, for `cargo xtask compare`.
//
// It is the one of benches/bin/bench-server.rs: JSON, no dictionary, no protobuf, no pipeline; the
// messages have types, as a user of nano writes them.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"sync/atomic"
	"time"

	"github.com/lonng/nano"
	"github.com/lonng/nano/component"
	"github.com/lonng/nano/serialize/json"
	"github.com/lonng/nano/session"
)

type (
	// EntryHandler has the routes.
	EntryHandler struct {
		component.Base
		uids  atomic.Int64
		rooms map[string]*nano.Group
	}

	// Done is the answer of most routes.
	Done struct {
		Code int `json:"code"`
	}

	// Text is what is echoed and pushed.
	Text struct {
		Msg string `json:"msg"`
	}

	// Echoed is the answer to an echo.
	Echoed struct {
		Code int    `json:"code"`
		Msg  string `json:"msg"`
	}

	// Join names a room.
	Join struct {
		Room string `json:"room"`
	}

	// Empty is a message without members.
	Empty struct{}
)

var done = &Done{Code: 200}

// Entry binds a fresh uid.
func (h *EntryHandler) Entry(s *session.Session, _ *Empty) error {
	if err := s.Bind(h.uids.Add(1)); err != nil {
		return err
	}
	return s.Response(done)
}

// Echo answers the text.
func (h *EntryHandler) Echo(s *session.Session, text *Text) error {
	return s.Response(&Echoed{Code: 200, Msg: text.Msg})
}

// Join makes the session a member of a room. nano calls handlers one after another, so the map
// needs no lock.
func (h *EntryHandler) Join(s *session.Session, join *Join) error {
	room, ok := h.rooms[join.Room]
	if !ok {
		room = nano.NewGroup(join.Room)
		h.rooms[join.Room] = room
	}
	s.Set("room", room)
	if err := room.Add(s); err != nil {
		return err
	}
	return s.Response(done)
}

// Broadcast pushes the text to the caller's room.
func (h *EntryHandler) Broadcast(s *session.Session, text *Text) error {
	if err := s.Value("room").(*nano.Group).Broadcast("onMessage", text); err != nil {
		return err
	}
	return s.Response(done)
}

// method gives nano's names of methods the case of pomelo's.
func method(name string) string {
	return string(name[0]|0x20) + name[1:]
}

func main() {
	port := flag.Int("port", 3010, "where clients connect, 0 for any")
	heartbeat := flag.Int("heartbeat", 30, "seconds")
	websocket := flag.Bool("ws", false, "WebSocket in place of TCP; nano serves one of them")
	flag.Parse()

	address := fmt.Sprintf("127.0.0.1:%d", *port)
	if *port == 0 {
		// nano does not tell what port it got.
		free, err := net.Listen("tcp", address)
		if err != nil {
			log.Fatal(err)
		}
		address = free.Addr().String()
		free.Close()
	}
	go announce(address)

	session.Lifetime.OnClosed(func(s *session.Session) {
		if room, ok := s.Value("room").(*nano.Group); ok {
			room.Leave(s)
		}
	})
	components := &component.Components{}
	components.Register(
		&EntryHandler{rooms: map[string]*nano.Group{}},
		component.WithName("connector.entryHandler"),
		component.WithNameFunc(method),
	)
	nano.Listen(address,
		nano.WithComponents(components),
		nano.WithSerializer(json.NewSerializer()),
		nano.WithHeartbeatInterval(time.Duration(*heartbeat)*time.Second),
		nano.WithIsWebsocket(*websocket),
		nano.WithWSPath("/"),
		// Every connection that ends would be a line.
		nano.WithLogger(log.New(io.Discard, "", 0)),
	)
}

// announce waits until nano accepts, which it has no event for.
func announce(address string) {
	for {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			connection.Close()
			break
		}
		time.Sleep(time.Millisecond)
	}
	fmt.Println("listening on", address)
}
