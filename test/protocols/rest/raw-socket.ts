import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** A connection on which a test says what no HTTP client would. */
export interface RawSocket {
  readonly socket: Socket;
  /** All that the server said, once it has closed the connection. */
  readonly said: Promise<string>;
}

export async function openRaw(url: string): Promise<RawSocket> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true, noDelay: true });
  const chunks: Buffer[] = [];
  const said = new Promise<string>((resolve) => {
    const end = () => {
      socket.destroy();
      resolve(Buffer.concat(chunks).toString('latin1'));
    };
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.once('end', end);
    socket.once('close', end);
    socket.on('error', () => undefined);
  });
  await once(socket, 'connect');
  return { socket, said };
}

/** Says it all at once. */
export async function sayRaw(url: string, text: string | Buffer): Promise<string> {
  const { socket, said } = await openRaw(url);
  socket.write(text);
  return said;
}
