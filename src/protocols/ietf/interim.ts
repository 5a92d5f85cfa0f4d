import type { ServerResponse } from 'node:http';

/** At most so often a client is told how far it has come. */
const everyMs = 500;

/** Node has no public call for a status that it does not know; this is what its own `writeEarlyHints` calls. */
type RawResponse = ServerResponse & { _writeRaw(data: string, encoding: 'ascii'): boolean };

/**
 * `104 (Upload Resumption Supported)`, an interim response (RFC 9110, section 15.2). A client of HTTP/1.0 gets none, nor one
 * that has its final answer.
 */
export function sendInterim(outgoing: ServerResponse, headers: Readonly<Record<string, string>>): void {
  if (outgoing.headersSent || outgoing.destroyed || outgoing.req.httpVersion !== '1.1') return;
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  (outgoing as RawResponse)._writeRaw(`HTTP/1.1 104 Upload Resumption Supported\r\n${lines.join('')}\r\n`, 'ascii');
}

/** "the server SHOULD send interim responses … with the Upload-Offset header field set to the current offset". */
export function tellProgress(
  outgoing: ServerResponse,
  interop: Readonly<Record<string, string>>,
): (offset: number) => void {
  let toldAtMs = Number.NEGATIVE_INFINITY;
  return (offset) => {
    if (performance.now() - toldAtMs < everyMs) return;
    toldAtMs = performance.now();
    sendInterim(outgoing, { ...interop, 'Upload-Offset': String(offset) });
  };
}
