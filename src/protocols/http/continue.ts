import type { IncomingMessage, Server, ServerResponse } from 'node:http';

const waiting = new WeakMap<IncomingMessage, ServerResponse>();

/**
 * Lets handlers decide when a client that sent `Expect: 100-continue` may send its body (RFC 9110, section
 * 10.1.1): a request that is refused before `sendContinue` costs the client not one byte of it.
 */
export function holdContinues(server: Server): void {
  server.on('checkContinue', (incoming: IncomingMessage, outgoing: ServerResponse) => {
    waiting.set(incoming, outgoing);
    server.emit('request', incoming, outgoing);
  });
}

/** Tells a waiting client to send its body. Does nothing for others. */
export function sendContinue(incoming: IncomingMessage): void {
  waiting.get(incoming)?.writeContinue();
  waiting.delete(incoming);
}
