/// JSON over HTTP for unary calls (protocol.md): begins here.
package enum Gateway {}
