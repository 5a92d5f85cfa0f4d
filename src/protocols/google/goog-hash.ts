import { type Digests, digestLengths } from '../../core/digest.ts';
import { UploadError } from '../../core/errors.ts';

/** `X-Goog-Hash: crc32c=n03x6A==,md5=Ojk9c3dhfxgoKVVHYwFbHQ==`. @throws UploadError `invalid_request` */
export function googHashOf(field: string | undefined): Pick<Digests, 'crc32c' | 'md5'> {
  if (field === undefined) return {};
  return Object.fromEntries(field.split(',').map((item) => parse(item.trim())));
}

function parse(item: string): readonly ['crc32c' | 'md5', string] {
  const [, algorithm, value = ''] = /^(crc32c|md5)=(.*)$/.exec(item) ?? [];
  if (algorithm === 'crc32c' || algorithm === 'md5') {
    const bytes = Buffer.from(value, 'base64');
    if (bytes.length === digestLengths[algorithm] && bytes.toString('base64') === value) return [algorithm, value];
  }
  throw new UploadError('invalid_request', 'X-Goog-Hash is not crc32c=… and md5=…, in base64.');
}
