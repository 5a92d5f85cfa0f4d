import type { Context } from 'hono';
import { concatenate } from '../../core/concatenate.ts';
import { UploadError } from '../../core/errors.ts';
import { findUpload } from '../../core/find.ts';
import { sizeOfJoined, sourcesOf } from '../../core/join-sources.ts';
import type { Upload } from '../../core/upload.ts';
import type { HttpEnv } from '../http/env.ts';
import { invalid } from './fields.ts';
import { type TusDeps, tusPath } from './front.ts';

/** What an `Upload-Concat` header asks for. */
export type Concat =
  | { readonly kind: 'partial' }
  /** Ids, in the order of the list. */
  | { readonly kind: 'final'; readonly ids: readonly string[] };

/**
 * "If the upload is a partial one, the header value MUST be partial. In the case of a final upload, its value MUST be final
 * followed by a semicolon and a space-separated list of partial upload URLs that will be concatenated."
 * @throws UploadError `invalid_request`
 */
export function parseConcat(field: string): Concat {
  if (field === 'partial') return { kind: 'partial' };
  const [, list] = /^final;\s*(\S.*)$/.exec(field) ?? [];
  if (list === undefined) throw invalid('Upload-Concat', 'is neither partial nor final; with a list of URLs');
  return { kind: 'final', ids: list.trim().split(/ +/).map(idOf) };
}

/** "The partial uploads URLs MAY be absolute or relative". Which host a client used says nothing behind proxies. */
function idOf(url: string): string {
  const path = URL.parse(url, 'http://gateway')?.pathname ?? '';
  const [, id] = new RegExp(`${tusPath}/([0-9a-f]+)$`).exec(path) ?? [];
  // "a space-separated list": with another separator the URL before it would be a piece of this one's path.
  const named = url.match(new RegExp(`${tusPath.slice(1)}/[0-9a-f]+`, 'g')) ?? [];
  if (id !== undefined && named.length === 1) return id;
  throw invalid('Upload-Concat', `names ${url}, which is no upload's URL`);
}

export function isPartial({ front }: Upload): boolean {
  return front.uploadConcat === 'partial';
}

export function isFinal({ sources }: Upload): boolean {
  return sources !== undefined;
}

/** "Response to HEAD request against partial or final upload MUST include the Upload-Concat header and its value as received". */
export function concatHeaders({ front }: Upload): Record<string, string> {
  return typeof front.uploadConcat === 'string' ? { 'Upload-Concat': front.uploadConcat } : {};
}

/** @throws UploadError `upload_gone` where a partial one has ended without its bytes */
export async function sizeOfFinal({ core }: TusDeps, upload: Upload): Promise<number | undefined> {
  return sizeOfJoined(core, await sourcesOf(core, upload));
}

/**
 * "The Client MAY send the concatenation request while the partial uploads are still in progress."
 * @throws UploadError
 */
export async function createFinal(
  c: Context<HttpEnv>,
  { core }: TusDeps,
  input: Omit<Parameters<typeof concatenate>[1], 'principal' | 'protocol' | 'sources'> & {
    readonly ids: readonly string[];
  },
): Promise<Upload> {
  const { ids, ...rest } = input;
  const principal = c.get('principal');
  const found = new Map<string, Upload>();
  for (const id of new Set(ids)) {
    const upload = await findUpload(core, principal, id);
    if (!isPartial(upload)) throw new UploadError('forbidden', `Upload ${id} is not a partial one.`);
    found.set(id, upload);
  }
  const sources = ids.flatMap((id) => found.get(id) ?? []);
  return concatenate(core, { ...rest, principal, protocol: 'tus', sources });
}
