import { expect, test } from 'vitest';
import { UploadError } from '../../../src/core/errors.ts';
import { placementOf } from '../../../src/protocols/google/placement.ts';

const data = { kind: 'data', endsUpload: false, totalBytes: undefined, chunkSizeBytes: undefined };

test.each([
  ['the whole, of a known length', undefined, 9, { ...data, offset: 0, sizeBytes: 9, totalBytes: 9 }],
  ['the whole, to the end', undefined, undefined, { ...data, offset: 0, sizeBytes: undefined, endsUpload: true }],
  ['a chunk of an unknown total', 'bytes 4-8/*', 5, { ...data, offset: 4, sizeBytes: 5, chunkSizeBytes: 5 }],
  ['a chunk', 'bytes 4-8/10', 5, { ...data, offset: 4, sizeBytes: 5, totalBytes: 10, chunkSizeBytes: 5 }],
  ['the last chunk', 'bytes 4-8/9', 5, { ...data, offset: 4, sizeBytes: 5, totalBytes: 9 }],
  ['a chunk that is sent chunked', 'bytes 4-8/*', undefined, { ...data, offset: 4, sizeBytes: 5, chunkSizeBytes: 5 }],
  ['all the rest', 'bytes 4-*/*', undefined, { ...data, offset: 4, sizeBytes: undefined, endsUpload: true }],
  ['the rest, of a known length', 'bytes 4-*/*', 5, { ...data, offset: 4, sizeBytes: 5, totalBytes: 9 }],
  ['the rest of a total', 'bytes 4-*/9', undefined, { ...data, offset: 4, sizeBytes: undefined, totalBytes: 9 }],
  ['a question', 'bytes */*', 0, { kind: 'question', totalBytes: undefined }],
  ['a question with a total', 'bytes */9', 0, { kind: 'question', totalBytes: 9 }],
  ["nothing, as Node's client says it", 'bytes 0--1/0', 0, { kind: 'question', totalBytes: 0 }],
  ["nothing more, as Node's client says it", 'bytes 9-8/9', 0, { kind: 'question', totalBytes: 9 }],
])('reads %s', (_what, contentRange, contentLength, placement) => {
  expect(placementOf(contentRange, contentLength)).toEqual(placement);
});

test.each([
  ['bytes 4-8/8', 5],
  ['bytes 4-8/*', 4],
  ['bytes 4-2/9', 0],
  ['bytes 4-*/8', 5],
  ['bytes 9-*/8', undefined],
  ['bytes */9', 5],
  ['bytes */*', undefined],
  ['bytes 4-8', 5],
  ['bytes=4-8/9', 5],
  ['bytes 0-99999999999999999999/*', undefined],
  ['items 4-8/9', 5],
  ['', 0],
])('refuses %j with %j bytes', (contentRange, contentLength) => {
  expect(() => placementOf(contentRange, contentLength)).toThrow(UploadError);
});
