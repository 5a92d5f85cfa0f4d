/** "Range: bytes=0-N", N the last durable byte; no header while there is none. */
export function rangeOf(offset: number): Record<string, string> {
  return offset === 0 ? {} : { Range: `bytes=0-${offset - 1}` };
}

/** 308 Resume Incomplete. Without `Location`, or HTTP libraries would follow it. */
export function resumeIncomplete(offset: number, { no308 }: { readonly no308: boolean }): Response {
  return new Response(null, {
    status: no308 ? 200 : 308,
    headers: {
      'Cache-Control': 'no-store',
      'Content-Length': '0',
      // "X-GUploader-No-308: yes": for libraries that take 308 for a redirect.
      ...(no308 ? { 'X-HTTP-Status-Code-Override': '308' } : {}),
      ...rangeOf(offset),
    },
  });
}
