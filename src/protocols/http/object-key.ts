import { UploadError } from '../../core/errors.ts';

/**
 * The key in `/objects/<key>` as the client sent it: before any tidying of `..` and `//`, percent-decoded once.
 * @throws UploadError `invalid_request`
 */
export function objectKeyOf(requestTarget: string): string {
  const path = requestTarget.replace(/^https?:\/\/[^/]*/i, '').split(/[?#]/, 1)[0] ?? '';
  try {
    const [, key = ''] = /^\/objects\/(.*)$/s.exec(path) ?? [];
    return decodeURIComponent(key);
  } catch {
    throw new UploadError('invalid_request', 'The key in the path is not percent-encoded UTF-8.', {
      details: { field: 'key' },
    });
  }
}
