import type { Upload } from '../../core/upload.ts';

/** Where the upload stands, once "the offset of the upload" is all that is to be told. */
export function offsetHeaders(upload: Upload): Record<string, string> {
  return { 'Upload-Offset': String(offsetOf(upload)), ...expiryHeaders(upload) };
}

/** The offset is the size only once the store has confirmed the object: until then the last answer is still to come. */
export function offsetOf({ state, sizeBytes, offset }: Upload): number {
  return state === 'completed' ? (sizeBytes ?? offset) : offset;
}

/** "This header MUST be included in every PATCH response if the upload is going to expire." */
export function expiryHeaders({ state, expiresAt }: Upload): Record<string, string> {
  return state === 'open' ? { 'Upload-Expires': expiresAt.toUTCString() } : {};
}

/** "Upload-Metadata … and its value as specified by the Client during the creation". */
export function metadataHeaders({ front }: Upload): Record<string, string> {
  return typeof front.uploadMetadata === 'string' && front.uploadMetadata !== ''
    ? { 'Upload-Metadata': front.uploadMetadata }
    : {};
}
