import { createHash, randomBytes } from 'node:crypto';

export interface UploadJson {
  readonly id: string;
  readonly state: string;
  readonly key: string;
  readonly partSize: number;
  readonly partCount: number;
  readonly etag?: string;
}

export interface PartsJson {
  readonly parts: { partNumber: number; size: number; etag: string }[];
  readonly missing: { partNumber: number; offset: number; size: number }[];
}

/** 5 MiB, the smallest part of S3. */
const partSize = 5 * 1024 * 1024;
/** Two whole parts and a short one. */
export const content = randomBytes(2 * partSize + 1000);

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export async function createUpload(gatewayUrl: string, key: string): Promise<UploadJson> {
  const answer = await fetch(`${gatewayUrl}/uploads`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': key },
    body: JSON.stringify({ key, size: content.length, partSize }),
  });
  if (answer.status !== 201) throw new Error(`create: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as UploadJson;
}

export async function listParts(gatewayUrl: string, id: string): Promise<PartsJson> {
  const answer = await fetch(`${gatewayUrl}/uploads/${id}/parts`);
  return (await answer.json()) as PartsJson;
}

export function putPart(gatewayUrl: string, id: string, partNumber: number): Promise<Response> {
  const body = content.subarray((partNumber - 1) * partSize, partNumber * partSize);
  return fetch(`${gatewayUrl}/uploads/${id}/parts/${partNumber}`, { method: 'PUT', body });
}

export function complete(gatewayUrl: string, id: string): Promise<Response> {
  return fetch(`${gatewayUrl}/uploads/${id}/complete`, { method: 'POST' });
}

export function abort(gatewayUrl: string, id: string): Promise<Response> {
  return fetch(`${gatewayUrl}/uploads/${id}`, { method: 'DELETE' });
}

export function look(gatewayUrl: string, id: string): Promise<UploadJson> {
  return fetch(`${gatewayUrl}/uploads/${id}`).then((answer) => answer.json() as Promise<UploadJson>);
}

/** Repeats a call while it cannot be reached, is busy or not yet able, as any client would: until the deadline. */
export async function persist(call: () => Promise<Response>, deadlineMs = 45_000): Promise<Response> {
  const deadline = Date.now() + deadlineMs;
  for (;;) {
    const answer = await call().catch(() => undefined);
    if (answer !== undefined && !(await isPassing(answer))) return answer;
    if (Date.now() > deadline) throw new Error(`still ${answer?.status} at the deadline: ${await answer?.text()}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function isPassing(answer: Response): Promise<boolean> {
  if (answer.status === 202 || answer.status === 503) return true;
  if (answer.status !== 409) return false;
  const problem = (await answer.clone().json()) as { code: string };
  return problem.code === 'busy';
}

/** What any client does after a break: list, send what is missing, complete. */
export async function carryOn(gatewayUrl: string, id: string): Promise<Response> {
  for (let round = 0; round < 3; round++) {
    const { missing } = await listParts(gatewayUrl, id);
    for (const { partNumber } of missing) {
      const answer = await persist(() => putPart(gatewayUrl, id, partNumber));
      if (answer.status !== 200) throw new Error(`part ${partNumber}: ${answer.status} ${await answer.text()}`);
    }
    const completed = await persist(() => complete(gatewayUrl, id));
    if (completed.status !== 409) return completed;
  }
  throw new Error('three rounds did not bring all parts to the store');
}
