import { setTimeout as sleep } from 'node:timers/promises';

export interface Progress {
  readonly id: string;
  readonly state: string;
  readonly size?: number;
  readonly offset: number;
  /** The first hundred. */
  readonly missing: readonly { readonly offset: number; readonly size?: number }[];
}

/** Bytes of a file; `to` is not included. */
export interface ByteRange {
  readonly from: number;
  readonly to: number;
}

/** Refused for good, or told something that can't be true. */
export class ChunkClientError extends Error {
  override readonly name = 'ChunkClientError';
}

const pauseMs = 100;

/**
 * A client that has a file and a URL, and sends byte ranges to it by `Content-Range`. It holds every answer against what
 * was acknowledged before: nothing of that may be missing again, and the offset may not fall.
 */
export class ChunkClient {
  readonly file: Buffer<ArrayBuffer>;
  /** How many answers of each status came; `cut`: none came. */
  readonly answers = new Map<number | 'cut', number>();
  readonly #urlOf: () => string;
  readonly #acknowledged: ByteRange[] = [];
  #offset = 0;

  /** @param urlOf asked for each request: the gateway moves, or there are several */
  constructor(file: Buffer<ArrayBuffer>, urlOf: () => string) {
    this.file = file;
    this.#urlOf = urlOf;
  }

  /**
   * Sends bytes once.
   * @param cutAfter breaks the connection off after so many of them
   * @returns `undefined` where that may go well another time
   */
  async send(
    { from, to }: ByteRange,
    { cutAfter }: { readonly cutAfter?: number } = {},
  ): Promise<Progress | undefined> {
    const bytes = this.file.subarray(from, to);
    const range = `bytes ${from}-${to - 1}/${this.file.length}`;
    const progress = await this.#request(range, cutAfter === undefined ? bytes : breakingOff(bytes, cutAfter));
    if (progress !== undefined) this.#acknowledged.push({ from, to });
    return progress;
  }

  /** Sends bytes until they are acknowledged, as a script does that is run again after each failure. */
  sendUntilStored(range: ByteRange, deadlineMs = 60_000): Promise<Progress> {
    return until(`bytes ${range.from}-${range.to} are stored`, deadlineMs, () => this.send(range));
  }

  /** The file in chunks, one after the other. */
  async sendAll(chunkBytes: number): Promise<Progress | undefined> {
    let last: Progress | undefined;
    for (const chunk of chunksOf(this.file, chunkBytes)) last = await this.sendUntilStored(chunk);
    return last;
  }

  /** Where to go on; `undefined` where nobody answers, or nothing is there yet. */
  ask(): Promise<Progress | undefined> {
    return this.#request(`bytes */${this.file.length}`, Buffer.alloc(0));
  }

  /** Sends what the gateway says is missing, until nothing is. */
  async sendMissing(chunkBytes: number, deadlineMs = 60_000): Promise<Progress> {
    return until('nothing is missing', deadlineMs, async () => {
      const progress = await this.ask();
      if (progress?.state === 'completed') return progress;
      for (const missing of progress?.missing ?? []) {
        for (const chunk of piecesOf(missing.offset, missing.size ?? 0, chunkBytes)) await this.send(chunk);
      }
      return undefined;
    });
  }

  async #request(range: string, body: Buffer<ArrayBuffer> | ReadableStream<Uint8Array>): Promise<Progress | undefined> {
    const before = { acknowledged: this.#acknowledged.length, offset: this.#offset };
    let answer: Response;
    let text: string;
    try {
      answer = await fetch(this.#urlOf(), {
        method: 'POST',
        headers: { 'content-range': range },
        body,
        duplex: 'half',
        signal: AbortSignal.timeout(60_000),
      });
      text = await answer.text();
    } catch {
      this.#count('cut');
      return undefined;
    }
    this.#count(answer.status);
    if (answer.status === 200) return this.#check(JSON.parse(text) as Progress, before);
    if (mayPass(answer.status, text, range)) return undefined;
    throw new ChunkClientError(`${range}: ${answer.status} ${text}`);
  }

  /** Against what was known when the request was sent: answers overtake each other. */
  #check(progress: Progress, before: { readonly acknowledged: number; readonly offset: number }): Progress {
    if (progress.offset < before.offset) {
      throw new ChunkClientError(`the offset fell from ${before.offset} to ${progress.offset}`);
    }
    this.#offset = Math.max(this.#offset, progress.offset);
    for (const { from, to } of this.#acknowledged.slice(0, before.acknowledged)) {
      for (const { offset, size = Number.POSITIVE_INFINITY } of progress.missing) {
        if (offset < to && offset + size > from) {
          throw new ChunkClientError(`bytes ${from}-${to} were acknowledged, but ${offset}+${size} are missing`);
        }
      }
    }
    return progress;
  }

  #count(answer: number | 'cut'): void {
    this.answers.set(answer, (this.answers.get(answer) ?? 0) + 1);
  }
}

export function chunksOf(file: Buffer, chunkBytes: number): ByteRange[] {
  return [...piecesOf(0, file.length, chunkBytes)];
}

function* piecesOf(offset: number, sizeBytes: number, chunkBytes: number): Generator<ByteRange> {
  const end = offset + sizeBytes;
  for (let from = offset; from < end; from += chunkBytes) yield { from, to: Math.min(from + chunkBytes, end) };
}

/** What a client tries again after: faults, a question before the first byte, a piece that can't be compared. */
function mayPass(status: number, text: string, range: string): boolean {
  if (status === 503 || status === 507) return true;
  if (status === 404) return range.startsWith('bytes */');
  return status === 409 && (JSON.parse(text) as { conflict?: string }).conflict === 'unverifiable';
}

function breakingOff(bytes: Buffer, afterBytes: number): ReadableStream<Uint8Array> {
  return new ReadableStream({
    pull(controller) {
      controller.enqueue(new Uint8Array(bytes.subarray(0, afterBytes)));
      controller.error(new Error('broken off'));
    },
  });
}

/** Looks again and again until there is an answer. */
export async function until<T>(what: string, deadlineMs: number, look: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + deadlineMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await sleep(pauseMs);
  }
}
