// Package proxy is the proxy-server: the one door through which clients and
// workers reach a cluster.
//
// It authenticates each call, finds the REAPI instance the call is for,
// authorises it, and passes it on to the backend that serves the instance:
//
//	client ──▶ listener (one auth scheme, some services)
//	             │ token        → identity: customer, scope
//	             │ first message → instance
//	             ▼
//	           routes: instance × kind (cas, action_cache, execution) → backend
//	             │
//	             ▼ same method, same bytes
//	           storage-server, execution-server, or anybody else's
//
// There is one handler for all methods, not one a method. Messages stay the
// bytes they came as; all the handler knows of a method is its row in the table
// of methods.go. Only Capabilities is typed, because its answer is put together
// from two backends and depends on what the caller may do.
//
// The names that the proxy authorises are parsed by system/digest, as in the
// servers behind it, so that both see the same instance in the same name. The
// servers behind trust the network and do no authentication of their own.
//
// A proxy is made from a [Config], usually read by [ParseConfig], and runs for
// as long as [Server.Serve] does.
package proxy
