import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CoreSettings } from '../../src/core/deps.ts';
import { UploadError } from '../../src/core/errors.ts';
import { expandKeyTemplate, unknownTemplateNames } from '../../src/core/key-template.ts';
import { placeOf, requireMetadata } from '../../src/core/limits.ts';
import type { Principal } from '../../src/core/principal.ts';

const settings: CoreSettings = {
  defaultBucket: 'default',
  buckets: new Set(['default', 'photos']),
  keyTemplate: '{date}/{id}/{filename}',
  stagingPrefix: '.partway/',
  maxSizeBytes: 1,
  uploadLifetimeMs: 1,
  storeKeepsMs: undefined,
  retentionMs: 1,
  bodyIdleMs: 1,
  leaseMs: 1,
  completeWaitMs: 1,
  storeWaitMs: 1,
};
const anyone: Principal = {
  tenant: 'default',
  tenantKeyPrefix: '',
  scopes: new Set(),
  bucket: undefined,
  keyPrefix: '',
};

/** Text with what is dangerous in keys more often than chance has it. */
const nastyText = fc
  .array(
    fc.oneof(
      fc.constantFrom('/', '..', '.', '//', '\0', '\n', '\u0085', '{id}', '$&', '\ud800', '.partway/', 'ä', '💾', '\\'),
      fc.string({ unit: 'binary', maxLength: 6 }),
    ),
    { maxLength: 12 },
  )
  .map((pieces) => pieces.join(''));

describe('expandKeyTemplate', () => {
  const id = '0123456789abcdef';
  const now = new Date('2026-11-23T23:59:59.999Z');

  it('makes a key that is accepted, of any file name', () => {
    fc.assert(
      fc.property(fc.option(nastyText, { nil: undefined }), (filename) => {
        const key = expandKeyTemplate(settings.keyTemplate, { tenant: 'default', now, id, filename });
        expect(placeOf({ bucket: undefined, key }, anyone, settings).storeKey).toBe(key);
        expect(key).toMatch(/^2026-11-23\/0123456789abcdef\/[^/]+$/);
        expect(Buffer.byteLength(key.split('/')[2]!)).toBeLessThanOrEqual(255);
      }),
    );
  });

  it('keeps names that are safe, and the end of long ones', () => {
    const expand = (filename: string) => expandKeyTemplate('{filename}', { tenant: 't', now, id, filename });
    expect(expand('backup-2026.tar.zst')).toBe('backup-2026.tar.zst');
    expect(expand('Grüße (1).txt')).toBe('Grüße_1_.txt');
    expect(expand('../../etc/passwd')).toBe('etc_passwd');
    expect(expand('.hidden')).toBe('hidden');
    expect(expand('...')).toBe('file');
    expect(expand('$&{id}')).not.toContain(id);
    expect(expand(`${'x'.repeat(500)}.mp4`)).toMatch(/^x{56}\.mp4$/);
  });

  it('knows its names', () => {
    expect(unknownTemplateNames('{tenant}/{date}/{id}/{filename}')).toEqual([]);
    expect(unknownTemplateNames('{user}/{id}/{}')).toEqual(['user', '']);
  });
});

describe('placeOf', () => {
  it("accepts only keys that no store and no file system reads otherwise, under the tenant's prefix", () => {
    fc.assert(
      fc.property(nastyText, fc.constantFrom('', 'tenant/'), (key, tenantKeyPrefix) => {
        const place = tryPlace(key, { ...anyone, tenantKeyPrefix });
        if (place instanceof UploadError) return;
        expect(place).toEqual({ bucket: 'default', key, storeKey: tenantKeyPrefix + key });
        const segments = place.storeKey.split('/');
        expect(segments.filter((segment) => ['', '.', '..'].includes(segment))).toEqual([]);
        expect(Buffer.byteLength(place.storeKey)).toBeLessThanOrEqual(1024);
        expect(place.storeKey.startsWith(settings.stagingPrefix)).toBe(false);
        expect(place.storeKey).not.toMatch(/\p{Cc}/u);
        expect(Buffer.from(place.storeKey).toString()).toBe(place.storeKey);
      }),
      { numRuns: 500 },
    );
  });

  it('accepts ordinary keys of any script', () => {
    const segment = fc.stringMatching(/^[\p{L}\p{N} _()+&-]{1,20}$/u);
    fc.assert(
      fc.property(fc.array(segment, { minLength: 1, maxLength: 4 }), (segments) => {
        expect(tryPlace(segments.join('/'), anyone)).toMatchObject({ key: segments.join('/') });
      }),
    );
  });

  it.each([
    ['', 'must not be empty'],
    ['a/../b', '. or ..'],
    ['./a', '. or ..'],
    ['/a', 'begin or end'],
    ['a/', 'begin or end'],
    ['a//b', 'begin or end'],
    ['a\0b', 'control characters'],
    ['a\x7fb', 'control characters'],
    ['\ud800', 'well-formed'],
    ['.partway/x', '.partway/'],
    [`${'ü'.repeat(100)}/`.repeat(6), '1024 bytes'],
    [`a/${'ü'.repeat(128)}`, '255 bytes'],
  ])('refuses the key %j and says why', (key, why) => {
    const refusal = tryPlace(key, anyone);
    expect(refusal).toBeInstanceOf(UploadError);
    expect(refusal).toMatchObject({ code: 'invalid_request', details: { field: 'key' } });
    expect((refusal as UploadError).message).toContain(why);
  });

  it('counts the prefix of the tenant', () => {
    const longest = `${'x'.repeat(255)}/`.repeat(4).slice(0, -1);
    expect(tryPlace(longest, anyone)).not.toBeInstanceOf(UploadError);
    expect(tryPlace(longest, { ...anyone, tenantKeyPrefix: 't/' })).toBeInstanceOf(UploadError);
  });

  it('holds a principal to its bucket and prefix', () => {
    const limited: Principal = { ...anyone, bucket: 'photos', keyPrefix: 'cam/' };
    expect(tryPlace('cam/1.jpg', limited)).toMatchObject({ bucket: 'photos' });
    expect(tryPlace('1.jpg', limited)).toMatchObject({ code: 'forbidden' });
    expect(tryPlace('cam/1.jpg', limited, 'default')).toMatchObject({ code: 'forbidden' });
    expect(tryPlace('cam/1.jpg', anyone, 'elsewhere')).toMatchObject({ code: 'forbidden' });
    expect(tryPlace('cam/1.jpg', anyone, 'photos')).toMatchObject({ bucket: 'photos' });
  });
});

describe('requireMetadata', () => {
  it("takes no more than S3's 2 KiB beside our token, with what is not ASCII encoded", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2048 }), fc.constantFrom('v', 'ü', '💾'), (count, character) => {
        const value = character.repeat(count);
        const header = character === 'v' ? value : `=?UTF-8?B?${Buffer.from(value).toString('base64')}?=`;
        const sent = [
          ['x-amz-meta-name', header],
          ['x-amz-meta-partway-token', 'f'.repeat(32)],
        ];
        const sentBytes = sent.flat().reduce((sum, text) => sum + text.length, 0);
        const isTaken = !isRefused(() => requireMetadata({ name: value }));
        if (isTaken) expect(sentBytes).toBeLessThanOrEqual(2048);
        else expect(sentBytes).toBeGreaterThan(1900);
      }),
    );
  });

  it.each(['', 'a b', 'a:b', 'ü', 'partway-token', 'Partway-Token', '__proto__', 'x'.repeat(129)])(
    'refuses the name %j',
    (name) => {
      expect(() => requireMetadata(Object.fromEntries([[name, 'v']]))).toThrow(UploadError);
    },
  );

  it.each(['a\nb', '\0', '\ud800'])('refuses the value %j', (value) => {
    expect(() => requireMetadata({ name: value })).toThrow(UploadError);
  });
});

function isRefused(work: () => void): boolean {
  try {
    work();
    return false;
  } catch (error) {
    if (error instanceof UploadError) return true;
    throw error;
  }
}

function tryPlace(key: string, principal: Principal, bucket?: string) {
  try {
    return placeOf({ bucket, key }, principal, settings);
  } catch (error) {
    if (error instanceof UploadError) return error;
    throw error;
  }
}
