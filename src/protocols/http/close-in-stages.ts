import type { IncomingMessage } from 'node:http';

/** What a client goes on sending after its answer is read for so long. */
const longestMs = 10_000;

/**
 * Has the connection of a request that is answered before its body has come closed as RFC 9112, section 9.6, says: "First,
 * the server performs a half-close by closing only the write side of the read/write connection. The server then continues to
 * read from the connection until it receives a corresponding close by the client". Who was cut off while it still sends might
 * never see the answer.
 */
export function closeInStages(incoming: IncomingMessage): void {
  const { socket } = incoming;
  const destroySoon = socket.destroySoon.bind(socket);
  let isClosing = false;
  // What Node calls once the answer is written.
  socket.destroySoon = () => {
    if (incoming.complete) return destroySoon();
    if (isClosing) return;
    isClosing = true;
    const tooLong = setTimeout(() => socket.destroy(), longestMs);
    socket.once('close', () => clearTimeout(tooLong));
    incoming.once('end', destroySoon);
    incoming.resume();
    socket.end();
  };
}
