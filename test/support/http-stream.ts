import type { Socket } from 'node:net';

const longestHeadBytes = 256 * 1024;
const endOfHead = Buffer.from('\r\n\r\n');

/** The start line and headers of an HTTP/1.1 message (RFC 9112), as they came. */
export interface Head {
  readonly raw: Buffer;
  readonly startLine: string;
  /** Names in lower case; repeated ones joined by a comma. */
  readonly headers: ReadonlyMap<string, string>;
}

/** The connection ended in the middle of a message. */
export class EndedEarly extends Error {
  override readonly name = 'EndedEarly';
}

/** Reads a socket piece by piece; what is not asked for stays in the socket and holds the peer back. */
export class SocketReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #ahead: Buffer = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.#chunks = socket.iterator({ destroyOnReturn: false });
  }

  /** The next bytes; `undefined` at the end of the stream. */
  async next(): Promise<Buffer | undefined> {
    if (this.#ahead.length > 0) {
      const chunk = this.#ahead;
      this.#ahead = Buffer.alloc(0);
      return chunk;
    }
    const { done, value } = await this.#chunks.next();
    return done === true ? undefined : value;
  }

  /** Gives back the rest of what `next` gave. */
  unread(chunk: Buffer): void {
    this.#ahead = chunk;
  }

  /** The next message's head; `undefined` when the stream ends before its first byte. */
  async head(): Promise<Head | undefined> {
    let seen = Buffer.alloc(0);
    for (;;) {
      const chunk = await this.next();
      if (chunk === undefined) {
        if (seen.length === 0) return undefined;
        throw new EndedEarly('within a head');
      }
      seen = Buffer.concat([seen, chunk]);
      const end = seen.indexOf(endOfHead);
      if (end >= 0) {
        this.unread(seen.subarray(end + endOfHead.length));
        return parseHead(seen.subarray(0, end + endOfHead.length));
      }
      if (seen.length > longestHeadBytes) throw new Error('a head without an end');
    }
  }
}

function parseHead(raw: Buffer): Head {
  const [startLine = '', ...lines] = raw.toString('latin1').trimEnd().split('\r\n');
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    const earlier = headers.get(name);
    headers.set(name, earlier === undefined ? value : `${earlier}, ${value}`);
  }
  return { raw, startLine, headers };
}

/** Finds the end of one message's body in a stream of bytes. */
export interface BodyFraming {
  readonly done: boolean;
  /** Nothing but the end of the connection ends it. */
  readonly lastsUntilEnd: boolean;
  /**
   * Takes from the front of the chunk, at most so many bytes of content.
   * @returns how many bytes belong to this message, and how many of them are content
   */
  take(chunk: Buffer, maxContentBytes: number): { wireBytes: number; contentBytes: number };
}

/** RFC 9112 section 6.3: a request without Content-Length and Transfer-Encoding has no body. */
export function requestFraming(head: Head): BodyFraming {
  return framing(head) ?? new LengthFraming(0);
}

/** RFC 9112 section 6.3: an answer without a length lasts until the connection ends. */
export function answerFraming(head: Head, method: string): BodyFraming {
  const status = statusOf(head);
  if (method === 'HEAD' || status === 204 || status === 304) return new LengthFraming(0);
  return framing(head) ?? new LengthFraming(Number.POSITIVE_INFINITY);
}

export function statusOf(head: Head): number {
  return Number(head.startLine.split(' ')[1]);
}

function framing(head: Head): BodyFraming | undefined {
  if (head.headers.get('transfer-encoding')?.toLowerCase().endsWith('chunked')) return new ChunkedFraming();
  const length = head.headers.get('content-length');
  return length === undefined ? undefined : new LengthFraming(Number(length));
}

class LengthFraming implements BodyFraming {
  #leftBytes: number;

  constructor(lengthBytes: number) {
    this.#leftBytes = lengthBytes;
  }

  get done(): boolean {
    return this.#leftBytes === 0;
  }

  get lastsUntilEnd(): boolean {
    return this.#leftBytes === Number.POSITIVE_INFINITY;
  }

  take(chunk: Buffer, maxContentBytes: number) {
    const taken = Math.min(chunk.length, this.#leftBytes, maxContentBytes);
    this.#leftBytes -= taken;
    return { wireBytes: taken, contentBytes: taken };
  }
}

/** RFC 9112 section 7.1. */
class ChunkedFraming implements BodyFraming {
  readonly lastsUntilEnd = false;
  #within: 'size' | 'content' | 'content end' | 'trailer' | 'nothing' = 'size';
  #line = '';
  #leftBytes = 0;

  get done(): boolean {
    return this.#within === 'nothing';
  }

  take(chunk: Buffer, maxContentBytes: number) {
    let wireBytes = 0;
    let contentBytes = 0;
    while (wireBytes < chunk.length && !this.done) {
      if (this.#within === 'content') {
        const taken = Math.min(chunk.length - wireBytes, this.#leftBytes, maxContentBytes - contentBytes);
        if (taken === 0) break;
        wireBytes += taken;
        contentBytes += taken;
        this.#leftBytes -= taken;
        if (this.#leftBytes === 0) this.#within = 'content end';
      } else {
        this.#line += String.fromCharCode(chunk[wireBytes] ?? 0);
        wireBytes += 1;
        if (this.#line.endsWith('\r\n')) this.#endLine();
      }
    }
    return { wireBytes, contentBytes };
  }

  #endLine(): void {
    const line = this.#line.trim();
    this.#line = '';
    if (this.#within === 'content end') {
      this.#within = 'size';
    } else if (this.#within === 'trailer') {
      if (line === '') this.#within = 'nothing';
    } else {
      this.#leftBytes = Number.parseInt(line, 16);
      this.#within = this.#leftBytes === 0 ? 'trailer' : 'content';
    }
  }
}
