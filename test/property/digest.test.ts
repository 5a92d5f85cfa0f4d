import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type CombinableAlgorithm,
  combinableAlgorithms,
  combineCrcs,
  type DigestAlgorithm,
  digestAlgorithms,
  digestLengths,
  startDigest,
} from '../../src/core/digest.ts';

const MiB = 1024 ** 2;

async function digestOf(algorithm: DigestAlgorithm, ...chunks: Uint8Array[]): Promise<string> {
  const digest = startDigest(algorithm);
  for (const chunk of chunks) digest.update(Buffer.from(chunk));
  return digest.finish();
}

const algorithm = fc.constantFrom(...combinableAlgorithms);
const pieces = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 12 });
const crc = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => Buffer.from(bytes).toString('base64'));
const piece = fc.record({ crc, sizeBytes: fc.integer({ min: 0, max: 50_000 * 1024 ** 3 }) });

describe('combineCrcs', () => {
  it("is the CRC of the pieces' concatenation", async () => {
    await fc.assert(
      fc.asyncProperty(algorithm, pieces, async (name, chunks) => {
        const parts = await Promise.all(
          chunks.map(async (chunk) => ({ crc: await digestOf(name, chunk), sizeBytes: chunk.length })),
        );
        expect(combineCrcs(name, parts)).toBe(await digestOf(name, Buffer.concat(chunks)));
      }),
    );
  });

  it('is associative for lengths far beyond 32 bits', () => {
    fc.assert(
      fc.property(algorithm, piece, piece, piece, (name, a, b, c) => {
        const join = (...joined: (typeof a)[]) => ({
          crc: combineCrcs(name, joined),
          sizeBytes: joined.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
        });
        const whole = join(a, b, c).crc;
        expect(join(join(a, b), c).crc).toBe(whole);
        expect(join(a, join(b, c)).crc).toBe(whole);
      }),
    );
  });

  it('agrees with what was hashed, over more than 4 GiB', async () => {
    for (const name of combinableAlgorithms) {
      const mebibyte = { crc: await digestOf(name, Buffer.alloc(MiB)), sizeBytes: MiB };
      let doubled = mebibyte;
      while (doubled.sizeBytes < 4096 * MiB) {
        doubled = { crc: combineCrcs(name, [doubled, doubled]), sizeBytes: 2 * doubled.sizeBytes };
      }
      const hashed = { crc: await digestOfZeros(name, 128 * MiB), sizeBytes: 128 * MiB };
      const oneByOne = combineCrcs(name, Array(4096 + 128).fill(mebibyte));
      expect(combineCrcs(name, [doubled, hashed])).toBe(oneByOne);
    }
  });
});

async function digestOfZeros(name: CombinableAlgorithm, sizeBytes: number): Promise<string> {
  const digest = startDigest(name);
  const zeros = Buffer.alloc(16 * MiB);
  for (let left = sizeBytes; left > 0; left -= zeros.length) digest.update(zeros);
  return digest.finish();
}

describe('a running digest', () => {
  it('does not care how the bytes are cut', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...digestAlgorithms), pieces, async (name, chunks) => {
        const whole = await digestOf(name, Buffer.concat(chunks));
        expect(await digestOf(name, ...chunks)).toBe(whole);
        expect(Buffer.from(whole, 'base64')).toHaveLength(digestLengths[name]);
      }),
    );
  });

  it('has the known value of "123456789"', async () => {
    const text = Buffer.from('123456789');
    // Catalogue of parametrised CRC algorithms, "check"; FIPS 180-4 and RFC 1321 through Node's own hashes.
    const hex = async (name: DigestAlgorithm) => Buffer.from(await digestOf(name, text), 'base64').toString('hex');
    expect(await hex('crc32')).toBe('cbf43926');
    expect(await hex('crc32c')).toBe('e3069283');
    expect(await hex('crc64nvme')).toBe('ae8b14860a799888');
    for (const [name, native] of [
      ['md5', 'md5'],
      ['sha-1', 'sha1'],
      ['sha-256', 'sha256'],
      ['sha-512', 'sha512'],
    ] as const) {
      expect(await hex(name)).toBe(createHash(native).update(text).digest('hex'));
    }
  });
});
