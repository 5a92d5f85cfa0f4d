import type { IncomingMessage } from 'node:http';
import { type DigestAlgorithm, type Digests, digestLengths } from '../../core/digest.ts';
import { UploadError } from '../../core/errors.ts';
import type { TrailingDigests } from '../../core/stated-digests.ts';

/** By their names in tus. "The Server MUST support at least the SHA1 checksum algorithm identified by `sha1`." */
const algorithms: Readonly<Record<string, DigestAlgorithm>> = {
  sha1: 'sha-1',
  md5: 'md5',
  crc32: 'crc32',
  crc32c: 'crc32c',
  sha256: 'sha-256',
};

export const checksumAlgorithms = Object.keys(algorithms).join(',');

/**
 * What the client states of the body, before it or behind it.
 * @throws UploadError `invalid_request`
 */
export function checksumOf(incoming: IncomingMessage): Digests | TrailingDigests | undefined {
  const field = incoming.headers['upload-checksum'];
  if (field !== undefined) return parseChecksum(String(field));
  const trailers = String(incoming.headers.trailer ?? '').toLowerCase();
  // RFC 9110, section 6.6.2: the sender "SHOULD generate a Trailer header field"; by which algorithm it does not say there.
  if (!trailers.split(',').some((name) => name.trim() === 'upload-checksum')) return undefined;
  return {
    among: Object.values(algorithms),
    stated: () => {
      const trailer = incoming.trailers['upload-checksum'];
      if (trailer !== undefined) return parseChecksum(trailer);
      throw malformed('was announced as a trailer, and did not come');
    },
  };
}

/** "The header MUST consist of the name of the used checksum algorithm and the Base64 encoded checksum separated by a space." */
function parseChecksum(field: string): Digests {
  const [name = '', value = '', ...more] = field.trim().split(' ');
  const algorithm = Object.hasOwn(algorithms, name) ? algorithms[name] : undefined;
  // "400 Bad Request if the checksum algorithm is not supported by the server"
  if (algorithm === undefined) throw malformed(`names ${name}; known are ${checksumAlgorithms}`);
  const bytes = Buffer.from(value, 'base64');
  if (more.length === 0 && bytes.length === digestLengths[algorithm] && bytes.toString('base64') === value) {
    return { [algorithm]: value };
  }
  throw malformed(`has no ${name} in base64`);
}

function malformed(fault: string): UploadError {
  return new UploadError('invalid_request', `Upload-Checksum ${fault}.`, { details: { field: 'Upload-Checksum' } });
}
