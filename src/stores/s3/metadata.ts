/**
 * Metadata travels as headers, and what is not visible ASCII with single spaces comes back changed from one store
 * or another, or breaks the signature. Such values travel as one encoded-word of RFC 2047, as AWS itself writes them.
 */
const plain = /^[!-~]+(?: [!-~]+)*$/;
const encodedWord = /^=\?UTF-8\?B\?([A-Za-z0-9+/]*={0,2})\?=$/i;

export function encodeMetadata(metadata: Readonly<Record<string, string>>): Record<string, string> {
  return mapEntries(metadata, (value) =>
    plain.test(value) && !encodedWord.test(value) ? value : `=?UTF-8?B?${Buffer.from(value).toString('base64')}?=`,
  );
}

export function decodeMetadata(metadata: Readonly<Record<string, string>> | undefined): Record<string, string> {
  return mapEntries(metadata ?? {}, (value) => {
    const word = encodedWord.exec(value)?.[1];
    return word === undefined ? value : Buffer.from(word, 'base64').toString();
  });
}

function mapEntries(metadata: Readonly<Record<string, string>>, change: (value: string) => string) {
  return Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, change(value)]));
}
