import type { IncomingMessage } from 'node:http';
import type { Context } from 'hono';
import { ClientGoneError, UploadError } from '../../core/errors.ts';
import type { Upload } from '../../core/upload.ts';
import type { HttpEnv } from '../http/env.ts';
import { rawBodyOf } from '../http/raw-body.ts';
import type { Data, Placement } from './placement.ts';

/** The client never got the last answer, and sends again what the object has: it gets that answer now. */
export async function repeat(c: Context<HttpEnv>, completed: Upload, data: Data): Promise<Upload> {
  requireFit(completed, data);
  const sizeBytes = await passOver(c.env.incoming, c.get('bodyIdleMs'));
  if (data.sizeBytes === undefined) requireFit(completed, { ...data, sizeBytes });
  return completed;
}

/** @throws UploadError `state_conflict` where the upload has another size than the request says */
export function requireFit({ sizeBytes }: Upload, placement: Placement): void {
  const { totalBytes = sizeBytes } = placement;
  const end = placement.kind === 'data' ? placement.offset + (placement.sizeBytes ?? 0) : 0;
  if (sizeBytes === undefined || (totalBytes === sizeBytes && end <= sizeBytes)) return;
  throw new UploadError('state_conflict', `The object has ${sizeBytes} bytes; the range or the total says otherwise.`, {
    details: { conflict: 'size', expectedSize: sizeBytes },
  });
}

/**
 * Lets the body come: a client that still sends when it is answered and cut off may never see the answer.
 * @returns how many bytes it had
 */
async function passOver(incoming: IncomingMessage, idleMs: number): Promise<number> {
  let sizeBytes = 0;
  if (incoming.readableEnded || incoming.headers.expect !== undefined) return sizeBytes;
  return new Promise<number>((resolve, reject) => {
    const idle = setTimeout(() => reject(new UploadError('body_timeout', 'The body stalled.')), idleMs);
    incoming.on('data', (chunk: Buffer) => {
      sizeBytes += chunk.length;
      idle.refresh();
    });
    incoming.once('end', () => resolve(sizeBytes));
    incoming.once('close', () => {
      clearTimeout(idle);
      reject(new ClientGoneError('the client closed its connection in the body'));
    });
    rawBodyOf(incoming).resume();
  });
}
