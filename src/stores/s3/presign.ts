import { extendedEncodeURIComponent } from '@smithy/core/protocols';
import type { ObjectStore, Pin } from '../../core/object-store.ts';
import { callStore } from './call.ts';
import type { Places } from './places.ts';

const pinHeaders: Readonly<Record<Pin['algorithm'], string>> = { crc32: 'x-amz-checksum-crc32', md5: 'Content-MD5' };

/** What is signed as a header must be sent as it was signed; so length and digest bind the URL's holder. */
export function presignUploadPart(
  places: Places,
  input: Parameters<ObjectStore['presignUploadPart']>[0],
): ReturnType<ObjectStore['presignUploadPart']> {
  const { key, sizeBytes, pin } = input;
  const headers = {
    ...(sizeBytes !== undefined && { 'Content-Length': String(sizeBytes) }),
    ...(pin !== undefined && { [pinHeaders[pin.algorithm]]: pin.value }),
  };
  return callStore('presign UploadPart', undefined, async () => {
    const { signer, signingDate, requestTo } = await places.of(input.bucket);
    const query = { partNumber: String(input.partNumber), uploadId: input.storeUploadId };
    const request = requestTo({ key, query, headers }, { 'X-Amz-Content-Sha256': 'UNSIGNED-PAYLOAD' });
    const signed = await signer.presign(request, {
      signingDate: signingDate(),
      expiresIn: input.expiresInSeconds,
      // In the query the store would not look at it.
      unhoistableHeaders: new Set([pinHeaders.crc32]),
    });
    const { protocol, headers: signedHeaders, path } = signed;
    return { url: `${protocol}//${signedHeaders.host}${path}?${formatQuery(signed.query ?? {})}`, headers };
  });
}

function formatQuery(query: Readonly<Record<string, unknown>>): string {
  return Object.entries(query)
    .map(([name, value]) => `${extendedEncodeURIComponent(name)}=${extendedEncodeURIComponent(String(value))}`)
    .join('&');
}
