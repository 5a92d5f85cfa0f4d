import type { Context } from 'hono';
import type { HttpEnv } from './env.ts';

/** What links begin with: nothing, so that they are relative, unless a public URL is set. */
export function publicUrlOf({ publicUrl = '' }: { readonly publicUrl: string | undefined }): string {
  return publicUrl.replace(/\/$/, '');
}

/** What absolute URLs in answers begin with: the URL that clients use, or where it is not set the one that this one used. */
export function baseUrlOf(c: Context<HttpEnv>, publicUrl: string | undefined): string {
  return publicUrlOf({ publicUrl: publicUrl ?? new URL(c.req.url).origin });
}
