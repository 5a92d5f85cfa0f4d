import { createHash } from 'node:crypto';
import { expect } from 'vitest';
import { z } from 'zod';
import { problemBody } from '../../../src/protocols/http/responses.ts';
import {
  type CreateJson,
  type PartJson,
  type PartListJson,
  type ProblemJson,
  partBody,
  partListBody,
  type SignedPartsJson,
  signedPartsBody,
  type UploadJson,
  type UploadListJson,
  uploadBody,
  uploadListBody,
} from '../../../src/protocols/rest/contract.ts';
import { type Answer, type Exchange, Wire } from './wire.ts';

type Headers = Readonly<Record<string, string>>;

/** Answers may have no member that the contract does not name. */
const upload = z.strictObject(uploadBody.shape);
const schemas = {
  upload,
  uploadList: z.strictObject({ ...uploadListBody.shape, uploads: z.array(upload) }),
  part: z.strictObject(partBody.shape),
  partList: z.strictObject({ ...partListBody.shape, parts: z.array(z.strictObject(partBody.shape)) }),
  signedParts: z.strictObject(signedPartsBody.shape),
};

/** What only a driver, a stack or a path of the machine would say. */
const leaks =
  /postgres|drizzle|\bsql\b|\bselect\b|\binsert\b|aws-sdk|smithy|minio|ECONN|EPIPE|node_modules|\.ts:\d|\bat .+\(|file:\/\/|undefined|\[object/i;

/** Speaks native REST, and holds every answer against the contract. */
export class RestClient {
  readonly wire: Wire;
  readonly #headers: Headers;

  constructor(url: string, headers: Headers = {}) {
    this.wire = new Wire(url);
    this.#headers = headers;
  }

  /** The same server, as somebody else. */
  as(headers: Headers): RestClient {
    return new RestClient(this.wire.url, headers);
  }

  async request(method: string, path: string, body?: unknown, headers: Headers = {}): Promise<Answer> {
    const json = body === undefined || Buffer.isBuffer(body) ? undefined : JSON.stringify(body);
    const answer = await this.wire.send(
      {
        method,
        path,
        headers: {
          ...(json === undefined ? {} : { 'content-type': 'application/json' }),
          ...this.#headers,
          ...headers,
        },
      },
      Buffer.isBuffer(body) ? body : json,
    );
    if (answer.status >= 400 && method !== 'HEAD') problemOf(answer);
    return answer;
  }

  async create(body: CreateJson, headers: Headers = {}): Promise<UploadJson> {
    return parsed(await this.request('POST', '/uploads', body, headers), 201, schemas.upload);
  }

  async look(id: string): Promise<UploadJson> {
    return parsed(await this.request('GET', `/uploads/${id}`), 200, schemas.upload);
  }

  async list(query = ''): Promise<UploadListJson> {
    return parsed(await this.request('GET', `/uploads${query}`), 200, schemas.uploadList);
  }

  async listParts(id: string, query = ''): Promise<PartListJson> {
    return parsed(await this.request('GET', `/uploads/${id}/parts${query}`), 200, schemas.partList);
  }

  async putPart(id: string, partNumber: number, bytes: Buffer, headers: Headers = {}): Promise<PartJson> {
    const answer = await this.request('PUT', `/uploads/${id}/parts/${partNumber}`, bytes, headers);
    const part = parsed(answer, 200, schemas.part);
    expect(answer.headers.etag).toBe(part.etag);
    return part;
  }

  /** A part whose body the test sends as it likes. */
  openPart(id: string, partNumber: number, sizeBytes: number, headers: Headers = {}): Exchange {
    return this.wire.open({
      method: 'PUT',
      path: `/uploads/${id}/parts/${partNumber}`,
      headers: { 'content-length': String(sizeBytes), ...this.#headers, ...headers },
    });
  }

  async sign(id: string, body: unknown): Promise<SignedPartsJson> {
    return parsed(await this.request('POST', `/uploads/${id}/parts/sign`, body), 200, schemas.signedParts);
  }

  async report(id: string, parts: readonly unknown[]): Promise<UploadJson> {
    return parsed(await this.request('POST', `/uploads/${id}/parts`, { parts }), 200, schemas.upload);
  }

  async complete(id: string, body?: unknown): Promise<UploadJson> {
    const answer = await this.request('POST', `/uploads/${id}/complete`, body);
    const completed = parsed(answer, 200, schemas.upload);
    expect(answer.headers.etag).toBe(completed.etag);
    return completed;
  }

  /** The object as the gateway serves it. */
  async read(key: string, headers: Headers = {}): Promise<Answer> {
    return this.request('GET', `/objects/${key.split('/').map(encodeURIComponent).join('/')}`, undefined, headers);
  }

  close(): void {
    this.wire.close();
  }
}

function parsed<Schema extends z.ZodType>(answer: Answer, status: number, schema: Schema): z.infer<Schema> {
  expect(`${answer.status} ${answer.status === status ? '' : answer.text}`.trim()).toBe(String(status));
  expect(answer.headers['content-type']).toMatch(/^application\/json\b/);
  return schema.parse(JSON.parse(answer.text));
}

/** The problem that an answer is, after its shape was held against RFC 9457 and the contract. */
export function problemOf(answer: Answer): ProblemJson & Record<string, unknown> {
  expect(answer.headers['content-type']).toBe('application/problem+json');
  expect(answer.headers['cache-control']).toBe('no-store');
  const problem = problemBody.parse(JSON.parse(answer.text));
  expect(problem).toMatchObject({ type: 'about:blank', status: answer.status });
  expect(problem.requestId).toBe(answer.headers['x-request-id']);
  expect(problem.title).toMatch(/^[A-Z][^.]+$/);
  expect(problem.detail).toMatch(/^[A-Z0-9a-z].*[.!]$/);
  expect(answer.text).not.toMatch(leaks);
  return problem;
}

/** Waits for a refusal, and returns its problem. */
export async function refused(
  answer: Promise<Answer>,
  status: number,
  code: ProblemJson['code'],
): Promise<ProblemJson & Record<string, unknown>> {
  const problem = problemOf(await answer);
  expect({ status: problem.status, code: problem.code, detail: problem.detail }).toMatchObject({ status, code });
  return problem;
}

/** Bytes that look like nothing else, the same for the same name. */
export function bytesOf(sizeBytes: number, name = 'bytes'): Buffer {
  return createHash('shake256', { outputLength: sizeBytes }).update(name).digest();
}
