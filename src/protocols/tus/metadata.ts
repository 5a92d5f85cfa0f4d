import { UploadError } from '../../core/errors.ts';
import { requireMetadata } from '../../core/limits.ts';

/** What an `Upload-Metadata` header says, as far as an object can carry it. */
export interface TusMetadata {
  readonly contentType: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
}

const mediaType = /^[\x21-\x7e]+(;[\x20-\x7e]*)?$/;

/**
 * "The Upload-Metadata request and response header MUST consist of one or more comma-separated key-value pairs. The key
 * and value MUST be separated by a space. The key MUST NOT contain spaces and commas and MUST NOT be empty. The key
 * SHOULD be ASCII encoded and the value MUST be Base64 encoded. All keys MUST be unique. The value MAY be empty. In these
 * cases, the space, which would normally separate the key and the value, MAY be left out."
 * @throws UploadError `invalid_request`
 */
export function parseMetadata(field: string): ReadonlyMap<string, Buffer> {
  const entries = new Map<string, Buffer>();
  for (const pair of field.split(',')) {
    const [key = '', value = '', ...more] = pair.trim().split(' ');
    if (key === '' || more.length > 0) throw malformed('is a list of pairs: key, a space, value in base64');
    if (entries.has(key)) throw malformed(`has the key ${key} twice`);
    entries.set(key, decode(key, value));
  }
  return entries;
}

/** `filetype` becomes the content type; what can be metadata of an object becomes that, and the rest is only given back. */
export function meaningOf(entries: ReadonlyMap<string, Buffer>): TusMetadata {
  const texts = [...entries].map(([key, value]) => [key, textOf(value)] as const);
  const filetype = texts.find(([key]) => key === 'filetype')?.[1];
  let metadata: Readonly<Record<string, string>> = {};
  for (const [key, text] of texts) {
    if (text !== undefined && fits({ ...metadata, [key]: text })) metadata = { ...metadata, [key]: text };
  }
  return { contentType: filetype !== undefined && mediaType.test(filetype) ? filetype : undefined, metadata };
}

function decode(key: string, value: string): Buffer {
  const bytes = Buffer.from(value, 'base64');
  const unpadded = (text: string) => text.replace(/=+$/, '');
  if (unpadded(bytes.toString('base64')) === unpadded(value)) return bytes;
  throw malformed(`has a value of ${key} that is not base64`);
}

function textOf(value: Buffer): string | undefined {
  const text = value.toString('utf8');
  return Buffer.from(text).equals(value) ? text : undefined;
}

function fits(metadata: Readonly<Record<string, string>>): boolean {
  try {
    requireMetadata(metadata);
    return true;
  } catch {
    return false;
  }
}

function malformed(fault: string): UploadError {
  return new UploadError('invalid_request', `Upload-Metadata ${fault}.`, { details: { field: 'Upload-Metadata' } });
}
