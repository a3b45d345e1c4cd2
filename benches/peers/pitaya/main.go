// A minimal application on pitaya with the routes of the load tool, for `cargo xtask compare`.
//
// It is the one of benches/bin/bench-server.rs: JSON, no dictionary, no protobuf, no pipeline, no
// compression; the messages have types, as a user of pitaya writes them.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/viper"
	"github.com/topfreegames/pitaya"
	"github.com/topfreegames/pitaya/acceptor"
	"github.com/topfreegames/pitaya/component"
	"github.com/topfreegames/pitaya/config"
	"github.com/topfreegames/pitaya/constants"
	"github.com/topfreegames/pitaya/groups"
	"github.com/topfreegames/pitaya/serialize/json"
)

const serverType = "connector"

type (
	// EntryHandler has the routes.
	EntryHandler struct {
		component.Base
		uids atomic.Int64
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
func (h *EntryHandler) Entry(ctx context.Context, _ *Empty) (*Done, error) {
	s := pitaya.GetSessionFromCtx(ctx)
	if err := s.Bind(ctx, strconv.FormatInt(h.uids.Add(1), 10)); err != nil {
		return nil, err
	}
	return done, nil
}

// Echo answers the text.
func (h *EntryHandler) Echo(_ context.Context, text *Text) (*Echoed, error) {
	return &Echoed{Code: 200, Msg: text.Msg}, nil
}

// Join makes the session a member of a room.
func (h *EntryHandler) Join(ctx context.Context, join *Join) (*Done, error) {
	s := pitaya.GetSessionFromCtx(ctx)
	if err := pitaya.GroupCreate(ctx, join.Room); err != nil && err != constants.ErrGroupAlreadyExists {
		return nil, err
	}
	if err := pitaya.GroupAddMember(ctx, join.Room, s.UID()); err != nil {
		return nil, err
	}
	if err := s.Set("room", join.Room); err != nil {
		return nil, err
	}
	err := s.OnClose(func() {
		pitaya.GroupRemoveMember(context.Background(), join.Room, s.UID())
	})
	return done, err
}

// Broadcast pushes the text to the caller's room.
func (h *EntryHandler) Broadcast(ctx context.Context, text *Text) (*Done, error) {
	room := pitaya.GetSessionFromCtx(ctx).String("room")
	if err := pitaya.GroupBroadcast(ctx, serverType, room, "onMessage", text); err != nil {
		return nil, err
	}
	return done, nil
}

// method gives pitaya's names of methods the case of pomelo's.
func method(name string) string {
	return string(name[0]|0x20) + name[1:]
}

func main() {
	port := flag.Int("port", 3010, "where clients connect, 0 for any")
	heartbeat := flag.Int("heartbeat", 30, "seconds")
	websocket := flag.Bool("ws", false, "WebSocket in place of TCP; an acceptor of pitaya serves one of them")
	flag.Parse()

	address := fmt.Sprintf("127.0.0.1:%d", *port)
	if *port == 0 {
		// pitaya tells what port it got, but not when.
		free, err := net.Listen("tcp", address)
		if err != nil {
			log.Fatal(err)
		}
		address = free.Addr().String()
		free.Close()
	}
	go announce(address)

	// Every connection that ends would be a line.
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	silent.SetLevel(logrus.PanicLevel)
	pitaya.SetLogger(silent)

	settings := viper.New()
	settings.Set("pitaya.heartbeat.interval", time.Duration(*heartbeat)*time.Second)
	settings.Set("pitaya.handler.messages.compression", false)
	pitaya.SetSerializer(json.NewSerializer())
	pitaya.InitGroups(groups.NewMemoryGroupService(config.NewConfig(settings)))
	pitaya.Register(
		&EntryHandler{},
		component.WithName("entryHandler"),
		component.WithNameFunc(method),
	)
	if *websocket {
		pitaya.AddAcceptor(acceptor.NewWSAcceptor(address))
	} else {
		pitaya.AddAcceptor(acceptor.NewTCPAcceptor(address))
	}
	pitaya.Configure(true, serverType, pitaya.Standalone, map[string]string{}, settings)
	pitaya.Start()
}

// announce waits until pitaya accepts.
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
