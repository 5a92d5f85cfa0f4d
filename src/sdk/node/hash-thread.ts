import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';

export interface HashOrder {
  readonly id: number;
  readonly algorithm: 'crc32' | 'md5';
  readonly descriptor: number;
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface HashReply {
  readonly id: number;
  readonly digest?: Uint8Array;
  readonly error?: unknown;
}

/** Hashes ranges of open files beside the thread that sends them: an MD5 costs more than all else of a part. */
class HashThread {
  readonly #worker = new Worker(new URL(`./hash-worker${extname(import.meta.url)}`, import.meta.url), { execArgv: [] });
  readonly #waiting = new Map<number, PromiseWithResolvers<Uint8Array>>();
  #lastId = 0;

  constructor() {
    this.#worker.unref();
    this.#worker.on('message', ({ id, digest, error }: HashReply) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (this.#waiting.size === 0) this.#worker.unref();
      if (digest === undefined) waiting?.reject(error);
      else waiting?.resolve(digest);
    });
    this.#worker.on('error', (error) => {
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
      thread = undefined;
    });
  }

  hash(order: Omit<HashOrder, 'id'>): Promise<Uint8Array> {
    const id = ++this.#lastId;
    const waiting = Promise.withResolvers<Uint8Array>();
    this.#waiting.set(id, waiting);
    this.#worker.ref();
    this.#worker.postMessage({ id, ...order });
    return waiting.promise;
  }
}

let thread: HashThread | undefined;

/** The range's digest. The file must stay open until it is there. */
export function hashRange(order: Omit<HashOrder, 'id'>): Promise<Uint8Array> {
  thread ??= new HashThread();
  return thread.hash(order);
}
