import type { IncomingHttpHeaders } from 'node:http';
import { parseDictionary } from 'structured-headers';
import { type DigestAlgorithm, type Digests, digestLengths } from '../../core/digest.ts';
import { UploadError } from '../../core/errors.ts';

/** Names in RFC 9530's registry ("Hash Algorithms for HTTP Digest Fields"), and those that S3 added. */
const fieldNames: Readonly<Record<string, DigestAlgorithm>> = {
  md5: 'md5',
  sha: 'sha-1',
  'sha-256': 'sha-256',
  'sha-512': 'sha-512',
  crc32: 'crc32',
  crc32c: 'crc32c',
  crc64nvme: 'crc64nvme',
};

/** Amazon S3 API Reference, UploadPart: request headers. */
const amzHeaders: Readonly<Record<string, DigestAlgorithm>> = {
  'x-amz-checksum-crc32': 'crc32',
  'x-amz-checksum-crc32c': 'crc32c',
  'x-amz-checksum-crc64nvme': 'crc64nvme',
  'x-amz-checksum-sha1': 'sha-1',
  'x-amz-checksum-sha256': 'sha-256',
  'x-amz-checksum-sha512': 'sha-512',
  'x-amz-checksum-md5': 'md5',
};

/** Not digests themselves. */
const amzAbout = new Set(['x-amz-checksum-algorithm', 'x-amz-checksum-mode', 'x-amz-checksum-type']);

/**
 * What a request states about its body: `Content-MD5`, `Content-Digest` (RFC 9530, section 2), `x-amz-checksum-*`.
 * @throws UploadError `invalid_request` for a value that can't be a digest, or two that contradict each other
 */
export function contentDigestsOf(headers: IncomingHttpHeaders): Digests {
  const digests: Partial<Record<DigestAlgorithm, string>> = {};
  const state = (algorithm: DigestAlgorithm, value: string, field: string) => {
    requireDigest(algorithm, value, field);
    if (digests[algorithm] !== undefined && digests[algorithm] !== value) {
      throw new UploadError('invalid_request', `Two values of ${algorithm} contradict each other.`);
    }
    digests[algorithm] = value;
  };
  for (const [name, value] of Object.entries(headers)) {
    if (!name.startsWith('x-amz-checksum-') || amzAbout.has(name)) continue;
    const algorithm = amzHeaders[name];
    if (algorithm === undefined) {
      throw new UploadError('invalid_request', `${name} is not known here.`, {
        details: { field: name, known: Object.keys(amzHeaders) },
      });
    }
    state(algorithm, String(value), name);
  }
  const md5 = headers['content-md5'];
  if (md5 !== undefined) state('md5', String(md5), 'Content-MD5');
  const field = headers['content-digest'];
  if (field !== undefined) {
    const values = parseDigestField(String(field), 'Content-Digest');
    for (const [algorithm, value] of values) state(algorithm, value, 'Content-Digest');
  }
  return digests;
}

/**
 * The digests of an RFC 9530 field value, such as `sha-256=:…:, crc32=:…:`.
 * @throws UploadError `invalid_request`, also where none of its algorithms is known: silence would look like a check
 */
export function parseDigestField(text: string, field: string): ReadonlyMap<DigestAlgorithm, string> {
  const digests = new Map<DigestAlgorithm, string>();
  for (const [name, [value]] of parseField(text, field)) {
    const algorithm = fieldNames[name];
    if (algorithm === undefined) continue;
    if (!(value instanceof ArrayBuffer)) throw malformed(field);
    const base64 = Buffer.from(value).toString('base64');
    requireDigest(algorithm, base64, field);
    digests.set(algorithm, base64);
  }
  if (digests.size > 0) return digests;
  throw new UploadError('invalid_request', `${field} names no algorithm known here.`, {
    details: { field, algorithms: Object.keys(fieldNames) },
  });
}

export function formatDigest(algorithm: DigestAlgorithm, value: string): string {
  const name = Object.keys(fieldNames).find((known) => fieldNames[known] === algorithm) ?? algorithm;
  return `${name}=:${value}:`;
}

function parseField(text: string, field: string) {
  try {
    return parseDictionary(text);
  } catch {
    throw malformed(field);
  }
}

function malformed(field: string): UploadError {
  return new UploadError('invalid_request', `${field} is not a dictionary of digests such as sha-256=:…:.`, {
    details: { field },
  });
}

function requireDigest(algorithm: DigestAlgorithm, value: string, field: string): void {
  const bytes = Buffer.from(value, 'base64');
  if (bytes.length === digestLengths[algorithm] && bytes.toString('base64') === value) return;
  throw new UploadError('invalid_request', `${field}: not a ${algorithm} in base64.`, { details: { field } });
}
