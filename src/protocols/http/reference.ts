import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { Scalar } from '@scalar/hono-api-reference';
import { Hono } from 'hono';
import type { HttpEnv } from './env.ts';

const scriptPath = '/docs/reference.js';

/** The page's one script: beside the build, or in the package that it comes from. */
function scriptFile(): string {
  const runsFromSource = import.meta.url.endsWith('.ts');
  const script = runsFromSource
    ? new URL('browser/standalone.js', import.meta.resolve('@scalar/api-reference'))
    : new URL('reference-page.js', import.meta.url);
  return fileURLToPath(script);
}

/** The reference page at `/docs`. It loads nothing from elsewhere. */
export function referenceRoutes() {
  const app = new Hono<HttpEnv>();
  app.get('/docs', async (c, next) => {
    await next();
    c.header(
      'Content-Security-Policy',
      "default-src 'self'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:",
    );
  });
  app.get('/docs', Scalar({ url: '/openapi.json', cdn: scriptPath, pageTitle: 'Partway', withDefaultFonts: false }));
  app.get(scriptPath, (c) => {
    c.header('Content-Type', 'text/javascript; charset=utf-8');
    c.header('Cache-Control', 'public, max-age=3600');
    return c.body(Readable.toWeb(createReadStream(scriptFile())) as ReadableStream);
  });
  return app;
}
