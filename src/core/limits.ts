import type { CoreSettings } from './deps.ts';
import { UploadError } from './errors.ts';
import { mayUse, type Principal } from './principal.ts';

/** Amazon S3 User Guide, "Object key naming guidelines": 1,024 bytes of UTF-8. */
const maxKeyBytes = 1024;

/**
 * Where an object goes: bucket, key as the client names it, and key at the store.
 * @throws UploadError `invalid_request`, `forbidden`
 */
export function placeOf(
  input: { readonly bucket: string | undefined; readonly key: string },
  principal: Principal,
  settings: CoreSettings,
): { bucket: string; key: string; storeKey: string } {
  const bucket = input.bucket ?? principal.bucket ?? settings.defaultBucket;
  const place = { bucket, key: input.key, storeKey: principal.tenantKeyPrefix + input.key };
  const fault = input.key === '' ? 'must not be empty' : faultOfKey(place.storeKey, settings.stagingPrefix);
  if (fault !== undefined) {
    throw new UploadError('invalid_request', `key ${fault}.`, { details: { field: 'key' } });
  }
  if (!settings.buckets.has(bucket)) {
    throw new UploadError('forbidden', 'This bucket is not one that the gateway may use.', {
      details: { field: 'bucket' },
    });
  }
  if (!mayUse(principal, place)) {
    throw new UploadError('forbidden', 'This key may not write there.', {
      details: { ...(principal.bucket ? { bucket: principal.bucket } : {}), keyPrefix: principal.keyPrefix },
    });
  }
  return place;
}

/** Where the object of an upload goes that is only a part of another's, under the gateway's own prefix. */
export function stagedPlaceOf(
  input: { readonly bucket: string | undefined; readonly id: string },
  principal: Principal,
  settings: CoreSettings,
): { bucket: string; key: string; storeKey: string } {
  const place = placeOf({ bucket: input.bucket, key: `${principal.keyPrefix}${input.id}` }, principal, settings);
  return { ...place, storeKey: `${settings.stagingPrefix}partial-${input.id}` };
}

export function isStaged({ storeKey }: { readonly storeKey: string }, { stagingPrefix }: CoreSettings): boolean {
  return storeKey.startsWith(stagingPrefix);
}

/** What is wrong with a key, as the end of a sentence that begins with "key". */
export function faultOfKey(key: string, stagingPrefix: string): string | undefined {
  if (Buffer.byteLength(key) > maxKeyBytes) return `must not be longer than ${maxKeyBytes} bytes in UTF-8`;
  if (!key.isWellFormed()) return 'must be well-formed Unicode';
  if (/\p{Cc}/u.test(key)) return 'must not contain control characters';
  const segments = key.split('/');
  if (key.split(/[\\/]/).some((segment) => segment === '.' || segment === '..'))
    return 'must not contain . or .. as a segment';
  // What a file system under a store takes as a name: MinIO would create the upload and refuse its parts.
  if (segments.some((segment) => Buffer.byteLength(segment) > 255)) return 'must not have a segment above 255 bytes';
  if (segments.includes('')) return 'must not begin or end with / nor contain //';
  if (key.startsWith(stagingPrefix)) return `must not begin with ${stagingPrefix}, which is the gateway's own`;
  return undefined;
}

/** @throws UploadError `limit_exceeded` */
export function requireSize(sizeBytes: number, settings: CoreSettings): void {
  if (sizeBytes <= settings.maxSizeBytes) return;
  throw new UploadError('limit_exceeded', `Uploads may have ${settings.maxSizeBytes} bytes at most.`, {
    details: { limit: settings.maxSizeBytes },
  });
}

/** What each name gets as a header; MinIO counts it. */
const metadataPrefix = 'x-amz-meta-';

/**
 * S3 allows 2 KiB of user metadata, names and values together, as they are sent: what is not ASCII is encoded
 * (RFC 2047) and grows, and our token takes its place.
 */
const maxMetadataBytes = 2048 - `${metadataPrefix}partway-token`.length - 32;

/** @throws UploadError `invalid_request` */
export function requireMetadata(metadata: Readonly<Record<string, string>>): void {
  let sizeBytes = 0;
  const names = Object.keys(metadata).map((name) => name.toLowerCase());
  if (new Set(names).size < names.length) {
    throw new UploadError(
      'invalid_request',
      'Names in metadata are header names: they must differ in more than case.',
      {
        details: { field: 'metadata' },
      },
    );
  }
  for (const [name, value] of Object.entries(metadata)) {
    sizeBytes += metadataPrefix.length + name.length + encodedLength(value);
    if (!/^[A-Za-z0-9_-]{1,128}$/.test(name) || /^(partway-|__proto__$)/i.test(name)) {
      throw new UploadError(
        'invalid_request',
        'Names in metadata are made of letters, digits, - and _, and do not begin with partway-.',
        { details: { field: 'metadata' } },
      );
    }
    if (/\p{Cc}/u.test(value) || !value.isWellFormed()) {
      throw new UploadError('invalid_request', 'Values in metadata must not contain control characters.', {
        details: { field: 'metadata' },
      });
    }
  }
  if (sizeBytes > maxMetadataBytes) {
    throw new UploadError(
      'invalid_request',
      `metadata may have ${maxMetadataBytes} bytes at most, with what is not ASCII encoded; it has ${sizeBytes}.`,
      { details: { field: 'metadata', limit: maxMetadataBytes } },
    );
  }
}

/** @throws UploadError `invalid_request` for what is signed otherwise than it is sent */
export function requireContentType(contentType: string): void {
  if (/^[\t\x20-\x7e]*$/.test(contentType)) return;
  throw new UploadError('invalid_request', 'A content type is made of ASCII.', { details: { field: 'contentType' } });
}

/** At most: `=?UTF-8?B?` and `?=` around base64. */
function encodedLength(value: string): number {
  const isPlain = /^[\x21-\x7e]+( [\x21-\x7e]+)*$/.test(value) || value === '';
  return isPlain ? value.length : 12 + 4 * Math.ceil(Buffer.byteLength(value) / 3);
}
