import { maxHeaderSize, type Server } from 'node:http';
import type { Socket } from 'node:net';

const badRequest = [400, 'Bad Request', 'This is not a request of HTTP/1.1.'] as const;

const meanings: Readonly<Record<string, readonly [status: number, title: string, detail: string]>> = {
  HPE_HEADER_OVERFLOW: [
    431,
    'Request Header Fields Too Large',
    `The head of the request has more than ${maxHeaderSize} bytes.`,
  ],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout', 'The head of the request did not come in time.'],
};

/** What Node's parser refuses never becomes a request: it is answered here, or cut where nobody waits. */
export function answerMalformedRequests(server: Server): void {
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket & { _httpMessage?: unknown }) => {
    // The body ended in the middle, or an answer is under way on this connection already.
    const nobodyWaits = error.code === 'HPE_INVALID_EOF_STATE' || error.code === 'ECONNRESET';
    if (nobodyWaits || !socket.writable || socket._httpMessage) {
      socket.destroy();
      return;
    }
    const [status, title, detail] = meanings[error.code ?? ''] ?? badRequest;
    const body = JSON.stringify({
      type: 'about:blank',
      status,
      title,
      detail,
      code: 'invalid_request',
    });
    socket.end(
      `HTTP/1.1 ${status} ${title}\r\nContent-Type: application/problem+json\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    );
  });
}
