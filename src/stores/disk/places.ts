import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { type MultipartAddress, type ObjectAddress, StoreError } from '../../core/object-store.ts';
import { noSuchUpload } from './errors.ts';

/**
 * Where things are below a store's root. A key is never a path: it appears as its hash.
 *
 *     uploads/BUCKET/KEY/UPLOAD/    an open multipart upload
 *     objects/BUCKET/KEY/VERSION/   an object: the upload's directory, moved; the newest version counts
 *     drafts/                       what is not yet any of these
 *     trash/                        what is no longer any of these
 */
export interface Places {
  readonly root: string;
  readonly drafts: string;
  readonly trash: string;
  uploadsOf(address: ObjectAddress): string;
  upload(address: MultipartAddress): string;
  objectsIn(bucket: string): string;
  versionsOf(address: ObjectAddress): string;
}

export function placesBelow(root: string): Places {
  const uploadsOf = (address: ObjectAddress) => join(root, 'uploads', bucketName(address.bucket), keyName(address.key));
  const objectsIn = (bucket: string) => join(root, 'objects', bucketName(bucket));
  return {
    root,
    drafts: join(root, 'drafts'),
    trash: join(root, 'trash'),
    uploadsOf,
    upload: (address) => join(uploadsOf(address), uploadName(address.storeUploadId)),
    objectsIn,
    versionsOf: (address) => join(objectsIn(address.bucket), keyName(address.key)),
  };
}

/** In the directory of an upload: a Complete that is under way. In that of a version: what the object is. */
export function manifestPath(directory: string, manifestId: string): string {
  return join(directory, `manifest-${manifestId}.json`);
}

export function isManifest(name: string): boolean {
  return name.startsWith('manifest-');
}

/** Every bucket of a proper name exists. */
export function bucketName(bucket: string): string {
  if (/^[a-z0-9][a-z0-9.-]{0,254}$/.test(bucket)) return bucket;
  throw new StoreError('refused', `${JSON.stringify(bucket)} is no name of a bucket: use a-z, 0-9, "." and "-"`);
}

const maxKeyBytes = 1024;

function keyName(key: string): string {
  const sizeBytes = Buffer.byteLength(key);
  // Lone surrogates would all be hashed as the same replacement character.
  if (sizeBytes >= 1 && sizeBytes <= maxKeyBytes && key.isWellFormed()) {
    return createHash('sha256').update(key).digest('hex');
  }
  throw new StoreError('refused', `a key must have 1 to ${maxKeyBytes} bytes of proper UTF-8`);
}

function uploadName(storeUploadId: string): string {
  if (/^[\w-]+$/.test(storeUploadId)) return storeUploadId;
  throw noSuchUpload(storeUploadId);
}
