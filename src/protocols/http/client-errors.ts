import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/** What Node's parser refuses never becomes a request: it is answered here, or cut where nobody waits. */
export function answerMalformedRequests(server: Server): void {
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket & { _httpMessage?: unknown }) => {
    // The body ended in the middle, or an answer is under way on this connection already.
    const nobodyWaits = error.code === 'HPE_INVALID_EOF_STATE' || error.code === 'ECONNRESET';
    if (nobodyWaits || !socket.writable || socket._httpMessage) {
      socket.destroy();
      return;
    }
    const [status, title] =
      error.code === 'HPE_HEADER_OVERFLOW'
        ? ([431, 'Request Header Fields Too Large'] as const)
        : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
          ? ([408, 'Request Timeout'] as const)
          : ([400, 'Bad Request'] as const);
    const body = JSON.stringify({
      type: 'about:blank',
      status,
      title,
      detail: 'This is not a request of HTTP/1.1.',
      code: 'invalid_request',
    });
    socket.end(
      `HTTP/1.1 ${status} ${title}\r\nContent-Type: application/problem+json\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    );
  });
}
