import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UploadError } from '../../src/core/errors.ts';
import { freeBuffer } from '../../src/core/free-buffer.ts';
import { FormFile } from '../../src/protocols/http/form-file.ts';

const boundary = '----WebKitFormBoundaryx7';
const delimiter = `\r\n--${boundary}`;

/** Contents that look like the end of a part, up to any byte of it. */
const content = fc
  .array(
    fc.oneof(
      fc.nat(delimiter.length - 1).map((length) => Buffer.from(delimiter.slice(0, length))),
      fc
        .constantFrom('\r', '\n', '\r\n', '-', '--', `--${boundary}`, `\n--${boundary}--`)
        .map((text) => Buffer.from(text)),
      fc.constant(Buffer.from(`${delimiter.slice(0, -1)}.`)),
      fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
      fc.nat(5000).map((length) => Buffer.alloc(length, 'x')),
    ),
    { maxLength: 12 },
  )
  .map((pieces) => Buffer.concat(pieces))
  // Who makes a form sees to that. The line before a content ends as the line before a delimiter does.
  .filter((bytes) => !Buffer.concat([Buffer.from('\r\n'), bytes]).includes(delimiter));

const field = fc.record({
  name: fc.constantFrom('a', 'files[]', 'token'),
  value: fc.constantFrom('', 'v', '\r\n--', delimiter.slice(0, -1)),
});
const fields = fc.array(field, { maxLength: 3 });
const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 31, max: 4000 })), {
  minLength: 1,
  maxLength: 30,
});

const shape = fc.record({
  content,
  before: fields,
  after: fields,
  cuts,
  epilogue: fc.constantFrom('', '\r\n', '\r\nepilogue'),
});
type Shape = typeof shape extends fc.Arbitrary<infer Value> ? Value : never;

function formOf({ content, before, after, epilogue }: Shape): Buffer {
  const text = ({ name, value }: { name: string; value: string }) =>
    Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`);
  const head = `--${boundary}\r\nContent-Disposition: form-data; name="f"; filename="a b.bin"\r\nContent-Type: image/png\r\n\r\n`;
  const parts = [
    ...before.map(text),
    Buffer.concat([Buffer.from(head), content, Buffer.from('\r\n')]),
    ...after.map(text),
  ];
  return Buffer.concat([...parts, Buffer.from(`--${boundary}--${epilogue}`)]);
}

/** Bytes that come as a socket brings them: each piece in memory of its own, some of them in the same moment. */
function comesAs(bytes: Buffer, cuts: readonly number[]): IncomingMessage {
  let at = 0;
  let count = 0;
  const body = new Readable({
    read() {
      const sizeBytes = cuts[count % cuts.length] ?? 1;
      const piece = Buffer.alloc(Math.min(sizeBytes, bytes.length - at));
      bytes.copy(piece, 0, at);
      at += piece.length;
      count += 1;
      const push = () => this.push(piece.length === 0 ? null : piece);
      if (sizeBytes % 3 === 0) setImmediate(push);
      else push();
    },
  });
  return Object.assign(body, {
    headers: { 'content-type': `multipart/form-data; boundary=${boundary}` },
  }) as unknown as IncomingMessage;
}

interface Outcome {
  readonly received: Buffer;
  readonly error: unknown;
}

/** Reads with pauses, and frees what it has read as whoever stores it does. */
async function read(file: FormFile, pauseAfter: number): Promise<Outcome> {
  const received: Buffer[] = [];
  let count = 0;
  return new Promise((resolve) => {
    file.on('data', (piece: Buffer) => {
      received.push(Buffer.from(piece));
      freeBuffer(piece);
      count += 1;
      if (count % pauseAfter !== 0) return;
      file.pause();
      setImmediate(() => file.resume());
    });
    file.on('end', () => resolve({ received: Buffer.concat(received), error: undefined }));
    file.on('error', (error) => resolve({ received: Buffer.concat(received), error }));
  });
}

const pauses = fc.integer({ min: 1, max: 5 });

describe('FormFile', () => {
  it('is the bytes of the file, whatever they look like and however the form is cut', async () => {
    await fc.assert(
      fc.asyncProperty(shape, pauses, fc.boolean(), async (form, pauseAfter, isSizeKnown) => {
        const sizeBytes = isSizeKnown && form.content.length > 0 ? form.content.length : undefined;
        const file = new FormFile(comesAs(formOf(form), form.cuts), { sizeBytes, idleMs: 10_000 });
        const { received, error } = await read(file, pauseAfter);
        expect(error).toBeUndefined();
        expect(received.equals(form.content)).toBe(true);
        expect(await file.contentType()).toBe('image/png');
      }),
      { numRuns: 1000 },
    );
  });

  it('never comes to the length that was announced where it has another', async () => {
    const delta = fc.integer({ min: -50, max: 50 }).filter((bytes) => bytes !== 0);
    await fc.assert(
      fc.asyncProperty(shape, pauses, delta, async (form, pauseAfter, difference) => {
        const sizeBytes = form.content.length + difference;
        fc.pre(sizeBytes > 0);
        const file = new FormFile(comesAs(formOf(form), form.cuts), { sizeBytes, idleMs: 10_000 });
        const { received, error } = await read(file, pauseAfter);
        expect(error).toBeInstanceOf(UploadError);
        expect(error).toMatchObject({ code: 'invalid_request' });
        expect(received.length).toBeLessThan(sizeBytes);
      }),
      { numRuns: 300 },
    );
  });

  it('never comes to its end where the form ends before its own', async () => {
    await fc.assert(
      fc.asyncProperty(
        shape,
        pauses,
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        async (form, pauseAfter, share) => {
          const whole = formOf({ ...form, epilogue: '' });
          const cutOff = whole.subarray(0, Math.floor(share * whole.length));
          const file = new FormFile(comesAs(cutOff, form.cuts), {
            sizeBytes: form.content.length || undefined,
            idleMs: 10_000,
          });
          const { received, error } = await read(file, pauseAfter);
          expect(error).toBeInstanceOf(UploadError);
          if (form.content.length > 0) expect(received.length).toBeLessThan(form.content.length);
        },
      ),
      { numRuns: 500 },
    );
  });
});
