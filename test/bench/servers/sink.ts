/**
 * As much of S3 as the gateway calls, without the disk: bodies are discarded. GET /-/calls tells how often each
 * operation was called.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { listen } from './say-ready.ts';

interface StoredPart {
  readonly sizeBytes: number;
  readonly etag: string;
}

interface Upload {
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly parts: Map<number, StoredPart>;
}

interface Call {
  readonly path: string;
  readonly query: URLSearchParams;
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
}

const uploads = new Map<string, Upload>();
const objects = new Map<string, { readonly sizeBytes: number; readonly metadata: Readonly<Record<string, string>> }>();
const calls: Record<string, number> = {};
const etag = `"${'0'.repeat(32)}"`;

const operations: Readonly<Record<string, (call: Call) => void>> = {
  HeadBucket: ({ outgoing }) => outgoing.end(),

  CreateMultipartUpload({ path, incoming, outgoing }) {
    const uploadId = `sink-${calls.CreateMultipartUpload}`;
    uploads.set(uploadId, { path, metadata: metadataOf(incoming), parts: new Map() });
    answer(outgoing, `<InitiateMultipartUploadResult><UploadId>${uploadId}</UploadId></InitiateMultipartUploadResult>`);
  },

  UploadPart({ query, incoming, outgoing }) {
    const upload = uploads.get(query.get('uploadId') ?? '');
    if (upload === undefined) return fail(outgoing, 404, 'NoSuchUpload');
    upload.parts.set(Number(query.get('partNumber')), { sizeBytes: Number(incoming.headers['content-length']), etag });
    outgoing.writeHead(200, { ETag: etag }).end();
  },

  PutObject: ({ outgoing }) => outgoing.writeHead(200, { ETag: etag }).end(),

  ListParts({ query, outgoing }) {
    const upload = uploads.get(query.get('uploadId') ?? '');
    if (upload === undefined) return fail(outgoing, 404, 'NoSuchUpload');
    const parts = [...upload.parts].toSorted(([a], [b]) => a - b);
    const rows = parts.map(
      ([number, part]) =>
        `<Part><PartNumber>${number}</PartNumber><ETag>${part.etag}</ETag><Size>${part.sizeBytes}</Size></Part>`,
    );
    answer(outgoing, `<ListPartsResult><IsTruncated>false</IsTruncated>${rows.join('')}</ListPartsResult>`);
  },

  CompleteMultipartUpload({ path, query, outgoing }) {
    const upload = uploads.get(query.get('uploadId') ?? '');
    if (upload === undefined) return fail(outgoing, 404, 'NoSuchUpload');
    uploads.delete(query.get('uploadId') ?? '');
    const sizeBytes = [...upload.parts.values()].reduce((sum, part) => sum + part.sizeBytes, 0);
    objects.set(path, { sizeBytes, metadata: upload.metadata });
    answer(outgoing, `<CompleteMultipartUploadResult><ETag>${etag}</ETag></CompleteMultipartUploadResult>`);
  },

  AbortMultipartUpload({ query, outgoing }) {
    uploads.delete(query.get('uploadId') ?? '');
    outgoing.writeHead(204).end();
  },

  HeadObject({ path, outgoing }) {
    const object = objects.get(path);
    if (object === undefined) return void outgoing.writeHead(404).end();
    outgoing.writeHead(200, { ETag: etag, 'Content-Length': object.sizeBytes, ...object.metadata }).end();
  },
};

function operationOf(method: string, path: string, query: URLSearchParams): string {
  if (method === 'HEAD') return path.indexOf('/', 1) > 0 && !path.endsWith('/') ? 'HeadObject' : 'HeadBucket';
  if (method === 'POST') return query.has('uploads') ? 'CreateMultipartUpload' : 'CompleteMultipartUpload';
  if (method === 'PUT') return query.has('partNumber') ? 'UploadPart' : 'PutObject';
  return method === 'DELETE' ? 'AbortMultipartUpload' : 'ListParts';
}

function metadataOf({ headers }: IncomingMessage): Record<string, string> {
  const entries = Object.entries(headers).filter(([name]) => name.startsWith('x-amz-meta-'));
  return Object.fromEntries(entries.map(([name, value]) => [name, String(value)]));
}

function answer(outgoing: ServerResponse, xml: string): void {
  outgoing.writeHead(200, { 'Content-Type': 'application/xml' }).end(`<?xml version="1.0" encoding="UTF-8"?>${xml}`);
}

function fail(outgoing: ServerResponse, status: number, code: string): void {
  outgoing.writeHead(status, { 'Content-Type': 'application/xml' }).end(`<Error><Code>${code}</Code></Error>`);
}

listen(
  createServer((incoming, outgoing) => {
    const { pathname: path, searchParams: query } = new URL(incoming.url ?? '', 'http://sink');
    if (path === '/-/calls') return void outgoing.end(JSON.stringify(calls));
    const name = operationOf(incoming.method ?? '', path, query);
    calls[name] = (calls[name] ?? 0) + 1;
    incoming.once('end', () => operations[name]?.({ path, query, incoming, outgoing })).resume();
  }),
);
