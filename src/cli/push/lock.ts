import { unlink } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Holds a name against other processes, until it is let go or this process ends, however it ends: a socket that listens
 * under the name. On Linux in no file system at all, so that nothing is ever left behind.
 * @returns `undefined` where another process holds it
 */
export async function holdName(name: string): Promise<AsyncDisposable | undefined> {
  const address = addressOf(`partway-${process.getuid?.() ?? ''}-${name}`);
  const held = await listen(address);
  if (held !== undefined || address.startsWith('\0') || (await isAlive(address))) return held;
  await unlink(address).catch(() => {});
  return listen(address);
}

function addressOf(name: string): string {
  if (process.platform === 'linux') return `\0${name}`;
  return process.platform === 'win32' ? `\\\\.\\pipe\\${name}` : join(tmpdir(), `${name}.sock`);
}

async function listen(address: string): Promise<AsyncDisposable | undefined> {
  const server = createServer((socket) => socket.destroy());
  server.unref();
  const isHeld = await new Promise<boolean>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(false) : reject(error),
    );
    server.listen(address, () => resolve(true));
  });
  if (!isHeld) return undefined;
  return { [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())) };
}

function isAlive(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('close', () => socket.destroy());
  });
}
