import { Readable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { startDigest } from '../../src/core/digest.ts';
import { BodyLengthError, PartBody } from '../../src/core/part-body.ts';

const chunks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 64 }), { minLength: 1, maxLength: 20 });

function cut(pieces: readonly Uint8Array[]): { content: Buffer; body: Readable } {
  const buffers = pieces.map((piece) => Buffer.from(piece));
  return { content: Buffer.concat(buffers), body: Readable.from(buffers) };
}

/** Reads to the end, or to the error. */
async function drain(body: PartBody): Promise<{ received: Buffer; error?: Error }> {
  const received: Buffer[] = [];
  body.on('data', (chunk: Buffer) => received.push(chunk));
  return new Promise((resolve) => {
    body.on('end', () => resolve({ received: Buffer.concat(received) }));
    body.on('error', (error) => resolve({ received: Buffer.concat(received), error }));
  });
}

describe('PartBody', () => {
  it('passes on the same bytes, however they are cut, and hashes them', async () => {
    await fc.assert(
      fc.asyncProperty(chunks, async (pieces) => {
        const { content, body } = cut(pieces);
        const digest = startDigest('crc32');
        const whole = startDigest('crc32');
        whole.update(content);
        const partBody = new PartBody({
          sizeBytes: content.length,
          digests: [digest],
          beforeLast: async () => undefined,
        });
        const { received, error } = await drain(body.pipe(partBody));
        expect(error).toBeUndefined();
        expect(received.equals(content)).toBe(true);
        expect(partBody.receivedBytes).toBe(content.length);
        expect(await digest.finish()).toBe(await whole.finish());
      }),
    );
  });

  it('withholds bytes until beforeLast resolves, also where the body ends with an empty buffer', async () => {
    await fc.assert(
      fc.asyncProperty(chunks, fc.integer({ min: 0, max: 2 }), async (pieces, emptyBuffers) => {
        const { content, body } = cut([...pieces, ...Array(emptyBuffers).fill(new Uint8Array(0))]);
        const release = Promise.withResolvers<void>();
        const asked = Promise.withResolvers<void>();
        let passedOn = 0;
        const partBody = new PartBody({
          sizeBytes: content.length,
          digests: [],
          beforeLast: () => {
            asked.resolve();
            return release.promise;
          },
        });
        partBody.on('data', (chunk: Buffer) => {
          passedOn += chunk.length;
        });
        const end = drain(body.pipe(partBody));
        await asked.promise;
        await new Promise(setImmediate);
        expect(passedOn).toBeLessThan(content.length);
        release.resolve();
        expect((await end).received.equals(content)).toBe(true);
      }),
    );
  });

  it('never passes on the last byte when beforeLast rejects', async () => {
    await fc.assert(
      fc.asyncProperty(chunks, async (pieces) => {
        const { content, body } = cut(pieces);
        const refusal = new Error('displaced');
        const partBody = new PartBody({
          sizeBytes: content.length,
          digests: [],
          beforeLast: () => Promise.reject(refusal),
        });
        const { received, error } = await drain(body.pipe(partBody));
        expect(error).toBe(refusal);
        expect(received.length).toBeLessThan(content.length);
      }),
    );
  });

  it('refuses a body of another length than announced, before the announced end is passed on', async () => {
    await fc.assert(
      fc.asyncProperty(
        chunks,
        fc.integer({ min: -50, max: 50 }).filter((d) => d !== 0),
        async (pieces, delta) => {
          const { content, body } = cut(pieces);
          const sizeBytes = Math.max(1, content.length + delta);
          fc.pre(sizeBytes !== content.length);
          let asked = false;
          const partBody = new PartBody({
            sizeBytes,
            digests: [],
            beforeLast: async () => {
              asked = true;
            },
          });
          const { received, error } = await drain(body.pipe(partBody));
          expect(error).toBeInstanceOf(BodyLengthError);
          expect(asked).toBe(false);
          expect(received.length).toBeLessThan(sizeBytes);
        },
      ),
    );
  });
});
