import type { UploadOptions } from './options.ts';
import { serverOf } from './server-url.ts';

/**
 * The name under which an upload is remembered where the caller gives none: the same source to the same place.
 * @param place of a file its absolute path
 * @throws UsageError
 */
export function resumeFingerprint(
  { server, bucket, key, ifNoneMatch }: Pick<UploadOptions, 'server' | 'bucket' | 'key' | 'ifNoneMatch'>,
  place: string,
): string {
  // An upload keeps the condition that it was begun with.
  const condition = ifNoneMatch === undefined ? [] : [ifNoneMatch];
  return JSON.stringify([serverOf(server), bucket ?? '', key ?? '', place, ...condition]);
}
