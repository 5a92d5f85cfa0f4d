import { Readable, Writable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { describe, expect, test } from 'vitest';
import { freeBuffer } from '../../src/core/free-buffer.ts';
import { PartBody } from '../../src/core/part-body.ts';

const chunkBytes = 64 * 1024;

function chunks(count: number): Buffer[] {
  return Array.from({ length: count }, (_, index) => Buffer.alloc(chunkBytes, index + 1));
}

/** A destination that holds on to one buffer after the other until it is told to let go. */
function holding() {
  const held: { readonly chunk: Buffer; readonly letGo: (error?: Error) => void }[] = [];
  const waiting: (() => void)[] = [];
  const destination = new Writable({
    highWaterMark: chunkBytes,
    write(chunk: Buffer, _encoding, done) {
      held.push({ chunk, letGo: done });
      waiting.shift()?.();
    },
  });
  const next = async () => {
    if (held.length === 0) await new Promise<void>((resolve) => waiting.push(resolve));
    return held.shift()!;
  };
  return { destination, next };
}

function bodyOf(content: readonly Buffer[], afterSent?: (chunk: Buffer) => void): PartBody {
  const body = new PartBody({
    sizeBytes: content.length * chunkBytes,
    digests: [],
    beforeLast: async () => undefined,
    afterSent,
  });
  return Readable.from(content, { objectMode: false }).pipe(body);
}

describe('a body on its way', () => {
  test('gives each buffer back once its destination has let go of it, and not before', async () => {
    const content = chunks(5);
    const { destination, next } = holding();
    const given: Buffer[] = [];
    bodyOf(content, (chunk) => given.push(chunk)).pipe(destination);
    for (const [index, chunk] of content.entries()) {
      const held = await next();
      expect(held.chunk).toBe(chunk);
      expect(given).toEqual(content.slice(0, index));
      held.letGo();
    }
    await finished(destination);
    expect(given).toEqual(content);
  });

  test('keeps a buffer that its destination failed with', async () => {
    const { destination, next } = holding();
    const given: Buffer[] = [];
    const body = bodyOf(chunks(5), (chunk) => given.push(chunk));
    body.on('error', () => undefined).pipe(destination);
    destination.on('error', () => body.destroy());
    (await next()).letGo();
    (await next()).letGo(new Error('the line broke'));
    await finished(body).catch(() => undefined);
    expect(given).toHaveLength(1);
  });

  test('brings the same bytes whether or not its buffers are freed', async () => {
    const wanted = Buffer.concat(chunks(40));
    for (const afterSent of [undefined, freeBuffer]) {
      const received: Buffer[] = [];
      const destination = new Writable({
        highWaterMark: chunkBytes,
        write(chunk: Buffer, _encoding, done) {
          received.push(Buffer.from(chunk));
          setImmediate(done);
        },
      });
      await pipeline(bodyOf(chunks(40), afterSent), destination);
      expect(Buffer.concat(received).equals(wanted)).toBe(true);
    }
  });
});

describe('a freed buffer', () => {
  test('is empty, but for one that is a piece of something larger', () => {
    const [whole, piece] = [Buffer.alloc(chunkBytes), Buffer.alloc(chunkBytes).subarray(1)];
    freeBuffer(whole);
    freeBuffer(piece);
    expect([whole.length, piece.length]).toEqual([0, chunkBytes - 1]);
  });
});
