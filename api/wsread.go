package api

import (
	"context"
	"encoding/json"
	"time"

	"github.com/coder/websocket"

	"github.com/vitrine-hq/vitrine/artifact"
	"github.com/vitrine-hq/vitrine/depot"
)

// message is what a client sends.
type message struct {
	Type *string         `json:"type"`
	Data json.RawMessage `json:"data"`
}

// read answers the messages of the client until it leaves, or has to.
func (c *socket) read(ctx context.Context) {
	for {
		// The connection ends it, with a reason; a context would break it off.
		kind, text, err := c.conn.Read(context.WithoutCancel(ctx))
		if err != nil || ctx.Err() != nil {
			return
		}
		var m message
		if kind != websocket.MessageText || json.Unmarshal(text, &m) != nil || m.Type == nil {
			err = c.say(ctx, "Invalid JSON format")
		} else {
			err = c.handle(ctx, *m.Type, m.Data)
		}
		if err != nil {
			return
		}
	}
}

// messageScopes are what messages need beyond reading (extensions §4).
var messageScopes = map[string]artifact.Scope{"human_input": artifact.Write, "cancel": artifact.Run}

// handle answers one message. An error means that the connection is of no use.
func (c *socket) handle(ctx context.Context, typ string, data json.RawMessage) error {
	if scope := messageScopes[typ]; scope != "" && !c.caller.Scopes.Has(scope) {
		return c.say(ctx, lacks(scope).Error())
	}
	switch typ {
	case "ping":
		return c.send(ctx, frame("pong", 0, map[string]float64{"timestamp": artifact.UnixSeconds(time.Now())}))
	case "get_status":
		return c.status(ctx)
	case "human_input":
		return c.humanInput(ctx, data)
	case "cancel":
		return c.say(ctx, "No workflow is running")
	case "attach":
		return c.reattach(ctx, data)
	}
	if len(typ) > 64 {
		typ = typ[:64] + "…"
	}
	return c.say(ctx, "Unknown message type: "+typ)
}

func (c *socket) status(ctx context.Context) error {
	s, err := c.s.depot.Session(ctx, c.tenant, c.follower.Session.ID)
	if artifact.KindOf(err) == artifact.NotFound {
		return c.send(ctx, frame("status", 0, map[string]string{"message": "Session not found"}))
	}
	if err != nil {
		return c.say(ctx, "An internal server error occurred")
	}
	return c.send(ctx, frame("status", 0, map[string]any{
		"session_id": s.ID, "yaml_file": nil, "status": s.Status, "created_at": artifact.UnixSeconds(s.Created),
		"updated_at": artifact.UnixSeconds(s.Updated), "current_node_id": nil, "waiting_for_input": false, "error_message": nil,
	}))
}

// humanInput refuses an answer: nothing asks for one while there are no runs.
func (c *socket) humanInput(ctx context.Context, data json.RawMessage) error {
	var answer struct {
		Input       string   `json:"input"`
		Attachments []string `json:"attachments"`
	}
	if len(data) > 0 && json.Unmarshal(data, &answer) != nil {
		return c.say(ctx, "Invalid JSON format")
	}
	if answer.Input == "" && len(answer.Attachments) == 0 {
		return c.say(ctx, "Empty input")
	}
	return c.say(ctx, "Session is not waiting for input")
}

// reattach turns the connection to another session, or to another position of
// its own.
func (c *socket) reattach(ctx context.Context, data json.RawMessage) error {
	var to struct {
		SessionID string        `json:"session_id"`
		After     *artifact.Seq `json:"after"`
		LogID     string        `json:"log_id"`
	}
	if json.Unmarshal(data, &to) != nil || to.After != nil && *to.After < 0 {
		return c.say(ctx, "Invalid JSON format")
	}
	id, err := artifact.ParseSessionID(to.SessionID)
	if err != nil {
		return c.say(ctx, err.Error())
	}
	if _, err := c.s.depot.Session(ctx, c.tenant, id); err != nil {
		c.sendError(ctx, err)
		return nil
	}
	start := depot.Cursor{LogID: to.LogID, Now: to.After == nil}
	if to.After != nil {
		start.After = *to.After
	}
	c.detach()
	return c.attach(ctx, id, start)
}
