import type { PartwayClient } from './client.ts';
import type { UploadJson } from './contract.ts';
import type { Hashes } from './hashes.ts';
import type { UploadEvent } from './options.ts';
import type { ChunkSize, Parallelism, Throttle } from './pace.ts';
import type { Progress } from './progress.ts';
import type { Patience } from './retrying.ts';
import type { RequestBody } from './transport/transport.ts';
import type { Gate } from './wait.ts';

/** One upload that is open, and all that its requests share. */
export interface Transfer {
  readonly client: PartwayClient;
  readonly upload: UploadJson;
  /** Aborts with what ended the transfer. */
  readonly signal: AbortSignal;
  /** Ends the transfer: the first failure counts. */
  readonly fail: (error: unknown) => void;
  readonly emit: (event: UploadEvent) => void;
  readonly progress: Progress;
  readonly patience: Patience;
  readonly throttle: Throttle;
  readonly chunk: ChunkSize;
  readonly parallelism: Parallelism;
  readonly gate: Gate;
  readonly hashes: Hashes;
  /** CRC-32s by offset, of what was read here or is on record. */
  readonly crcs: Map<number, { readonly value: number; readonly sizeBytes: number }>;
}

/** The body, no faster than is allowed. Where nothing limits it, as it is. */
export function throttled(transfer: Transfer, body: RequestBody): RequestBody {
  if (!transfer.throttle.isLimiting) return body;
  return {
    sizeBytes: body.sizeBytes,
    async *pieces() {
      for await (const piece of body.pieces()) {
        for (let offset = 0; offset < piece.length; offset += transfer.throttle.pieceBytes) {
          const cut = piece.subarray(offset, offset + transfer.throttle.pieceBytes);
          await transfer.throttle.take(cut.length, transfer.signal);
          yield cut;
        }
      }
    },
  };
}

/** Sends the items, as many at once as the line bears. */
export async function sendAll<T>(
  transfer: Transfer,
  items: Iterable<T> | AsyncIterable<T>,
  send: (item: T) => Promise<void>,
): Promise<void> {
  const flying = new Set<Promise<void>>();
  for await (const item of items) {
    while (flying.size >= transfer.parallelism.now) await Promise.race(flying);
    transfer.signal.throwIfAborted();
    const flight = send(item)
      .catch(transfer.fail)
      .finally(() => flying.delete(flight));
    flying.add(flight);
  }
  await Promise.all(flying);
  transfer.signal.throwIfAborted();
}
